"""A model of the user's own as a row among ours: the example of its page, from a file in the current folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import rnndrop
from rnndrop.config.compose import compose
from rnndrop.config.identity import run_id
from rnndrop.errors import RequestError
from rnndrop.models.own import OwnModel
from rnndrop.preview.mask_view import views
from rnndrop.report.compare import compare
from rnndrop.report.frames import load_runs
from rnndrop.runs.reevaluate import evaluate
from rnndrop.runs.signals import Interrupted
from rnndrop.runs.trial import try_own
from rnndrop.store import records
from rnndrop.sweeps.scheduler import plan_jobs
from tests.conftest import ROOT, TINY
from tests.own_files import folder_with
from tests.runs.test_resume import StopAt, essence, folder_of

PAGE = (ROOT / "docs" / "guide" / "model.md").read_text("utf-8")
NET = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
MC = ["evaluation.mc.samples=3", "evaluation.mc.masks=window", "evaluation.mc.embedding=true"]
PLAIN = """
import torch
from torch import nn
from torch.nn import functional as F

class Plain(nn.Module):
    def __init__(self, vocabulary_size, hidden, **others):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, hidden)
        self.lstm = nn.LSTM(hidden, hidden)
        self.decoder = nn.Linear(hidden, vocabulary_size)

    def forward(self, tokens, state):
        x, state = self.lstm(self.embedding(tokens), state)
        return self.decoder(x), state
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with the page's example, and nothing left of it in this process."""
    yield from folder_with({"mine_net": NET}, tmp_path, monkeypatch)


def asked(*more: str, module: str = "mine_net:Net") -> list[str]:
    return [*TINY, f"model.module={module}", "output=runs", *more]


def test_the_example_is_a_row_among_ours(here: Path) -> None:
    assert len(NET.splitlines()) <= 40
    source = hashlib.sha256((here / "mine_net.py").read_bytes()).hexdigest()
    for seed in ("seed=0", "seed=1"):
        mine = rnndrop.run(asked(seed, "model.options.p=0.1"))
        ours = rnndrop.run([*TINY, "output=runs", seed])
    assert mine.model["module"] == {"name": "mine_net:Net", "sha256": source}
    assert mine.model["parameters"] == ours.model["parameters"] and mine.data == ours.data
    other = rnndrop.run(asked("model.options.p=0.3", "model.tie_weights=true"))
    assert other.run_id != mine.run_id and other.metrics != mine.metrics
    table = compare(load_runs("runs"), baseline="model.module=null").set_index("run_id")
    assert set(table["model"]) == {f"mine_net:Net@{source[:7]} 2×12", "lstm 2×12"}
    assert table["baseline"][mine.run_id] == ours.run_id and np.isfinite(table["change"][mine.run_id])
    assert (here / "runs" / mine.run_id / "seed-1" / records.TEST_NLL).exists()
    rnndrop.run([*TINY, "output=runs", "model.cell=mingru"])
    with pytest.raises(RequestError, match="several rows here"):
        compare(load_runs("runs"), baseline="model.module=null")


def test_a_grid_has_each_run_once() -> None:
    grid = ["model.module=null,mine_net:Net", "model.options.p=0.1,0.3", "model.cell=lstm,gru"]
    jobs = plan_jobs([*TINY, "output=runs", *grid])
    assert [(job.config.model.module, job.config.model.cell) for job in jobs] == [
        (None, "lstm"), (None, "gru"), ("mine_net:Net", "lstm"), ("mine_net:Net", "lstm"),
    ]  # fmt: skip


def test_what_counts_in_the_run(here: Path) -> None:
    first = run_id(compose(asked()))
    assert run_id(compose(asked("trainer.init=0.2", "model.embedding=12"))) == first
    assert run_id(compose(asked("seeds.masks=3"))) != first  # its noise
    (here / "mine_net.py").write_text(NET + "\n# another\n", "utf-8")
    assert run_id(compose(asked())) != first


def test_options_come_as_they_were_typed(here: Path) -> None:
    """And are no other run for it than those of before, whose identity has one spelling of a number."""
    taken = "hidden, whole, real, mixed, **others):\n        assert repr((whole, real, mixed)) == '(1, 1.0, [1, 2.0])'"
    (here / "mine_other.py").write_text(
        PLAIN.replace("hidden, **others):", f"{taken}\n        mixed.append(0)  # its own list"), "utf-8"
    )
    typed = [f"model.options.{each}" for each in ("whole=1", "real=1.0", "mixed=[1,2.0]")]
    record = rnndrop.run(asked(*typed, module="mine_other:Plain"))
    assert record.status == "finished" and record.config["model"]["options"]["mixed"] == [1, 2.0]
    assert evaluate(here / "runs" / record.run_id / "seed-0", MC).status == "finished"  # from what the record holds

    ids = {value: run_id(compose(asked(f"model.options.p={value}"))) for value in ("true", "1", "1.0", "[1]", "[1.0]")}
    assert len(set(ids.values())) == 3 and ids["1"] == ids["1.0"] and ids["[1]"] == ids["[1.0]"]


def test_stopped_three_times_same_record() -> None:
    """With batch normalisation, whose buffers training changes, and a state of more than ten tensors in a dict."""
    Path("mine_other.py").write_text(
        PLAIN.replace("nn.LSTM(hidden, hidden)", "nn.LSTM(hidden, hidden); self.norm = nn.BatchNorm1d(hidden)")
        .replace("self.embedding(tokens)", "F.dropout(self.embedding(tokens), training=self.training)")
        .replace(", state)\n", ', state and (state["h"][0], state["c"][11]))\n')
        .replace("self.decoder(x), state", 'self.decoder(self.norm(x.mT).mT), {"h": [state[0]], "c": [state[1]] * 12}'),
        "utf-8",
    )
    more = ["model.tie_weights=true", "trainer.random_window=true"]
    for module in ("mine_net:Net", "mine_other:Plain"):
        whole, parts = (
            asked(*more, "trainer.checkpoint_seconds=0", f"output={name}", module=module) for name in ("whole", "parts")
        )
        assert rnndrop.run(whole).status == "finished"
        watch = StopAt(2, 5, 7)
        for _ in range(3):
            with pytest.raises(Interrupted):
                torch.rand(3)  # whatever else draws in this process
                rnndrop.run(parts, watch)
        assert rnndrop.run(parts, watch).timing["resumed_from_steps"] == [2, 5, 7]
        assert essence(folder_of(parts)) == essence(folder_of(whole))


def test_the_global_generator_is_left_as_it_was() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    rnndrop.run(asked(*MC))
    assert torch.equal(torch.rand(3), expected)


def test_it_is_measured_in_every_way_that_logits_allow(here: Path) -> None:
    found = rnndrop.run(asked("model.options.p=0.5"))
    folder = here / "runs" / found.run_id / "seed-0"
    ways = [*MC, "evaluation.dynamic.rule=rms", "evaluation.temperature.tune=true"]
    metrics = evaluate(folder, ways).metrics
    assert metrics["test_perplexity_mc_stderr"] > 0 and metrics["test_perplexity_dynamic"] > 1
    assert metrics["test_perplexity_temperature"] <= found.metrics["test_perplexity"] * 1.02
    again = evaluate(folder, [*MC, "evaluation.mc.power=0"]).metrics
    assert again["test_perplexity_mc"] != metrics["test_perplexity_mc"]  # another mean of the same kind
    trained = rnndrop.load(folder)
    assert isinstance(trained.model, OwnModel) and type(trained.model.module).__name__ == "Net"
    assert not trained.model.module.training
    (here / "mine_net.py").write_text(NET + "\n# another\n", "utf-8")
    with pytest.raises(RequestError, match="source of mine_net:Net here is not the one"):
        evaluate(folder, MC)


SAME = """
from rnndrop.models.encoder import ModelSettings
from rnndrop.models.language_model import LanguageModel
from rnndrop.training.seeding import generator

class Same(Plain):
    def __init__(self, vocabulary_size, hidden, layers, **others):
        super().__init__(vocabulary_size, hidden)
        self.lstm = nn.LSTM(hidden, hidden, layers)
        ours = LanguageModel(ModelSettings("lstm", hidden, layers, None, False), vocabulary_size)
        ours.initialize(0.05, generator(0, "weights", torch.device("cpu")))
        with torch.no_grad():
            self.embedding.weight.copy_(ours.embedding)
            self.decoder.weight.copy_(ours.decoder)
            self.decoder.bias.copy_(ours.decoder_bias)
            for depth, layer in enumerate(ours.layers):
                for name, weight in layer.named_parameters():
                    getattr(self.lstm, f"{name}_l{depth}").copy_(weight)
"""


@pytest.mark.parametrize(
    "optimizer", [["trainer.optimizer=sgd", "trainer.learning_rate=1"], ["trainer.optimizer=adam"]]
)
def test_our_lstm_written_with_that_of_torch_comes_to_the_same(here: Path, optimizer: list[str]) -> None:
    (here / "mine_other.py").write_text(PLAIN + SAME, "utf-8")
    shared = [*optimizer, "trainer.init=0.05", "trainer.clip=1", "evaluation.dynamic.rule=sgd"]
    mine, ours = rnndrop.run(asked(*shared, module="mine_other:Same")), rnndrop.run([*TINY, "output=runs", *shared])
    for name in ("test_perplexity", "train_perplexity", "test_perplexity_dynamic"):
        assert mine.metrics[name] == pytest.approx(ours.metrics[name], rel=1e-4)


BROKEN = {
    "raises": ("x, state =", "raise RuntimeError('no such thing'); x, state =", "line 14, raises RuntimeError: no"),
    "gives logits alone": ("self.decoder(x), state", "self.decoder(x)", r"returns a tensor .*not \(logits, state\)"),
    "gives no state": ("self.decoder(x), state", "self.decoder(x), None", r"or \(\)"),
    "ignores the state": ("tokens), state)", "tokens), None)", "the state that it is given changes nothing"),
    "has another shape": ("self.decoder(x), state", "self.decoder(x)[0], state", r"a tensor \(1, 2000\)"),
    "is not a number": ("self.decoder(x), state", "self.decoder(x) * float('nan'), state", "not finite"),
    "drops in evaluation": ("self.decoder(x)", "F.dropout(self.decoder(x))", "other logits each time"),
    "reads ahead": ("nn.LSTM(hidden, hidden)", "nn.LSTM(hidden, hidden // 2, bidirectional=True)", "later tokens"),
    "has the batch first": ("nn.LSTM(hidden, hidden", "nn.LSTM(hidden, hidden, batch_first=True", "time first"),
    "has a number in its state": ("(x), state", "(x), {'h': state, 'n': 1}", "its state holds a value of type int"),
    "lacks a layer": ("self.decoder =", "self.decoder_ =", "has no attribute 'decoder'"),
    "takes fewer sizes": (", **others", "", r"'layers'. It is called as Plain\(2000, hidden=12, layers=2, embedding"),
    "is a function": ("class Plain(nn.Module):", "Plain = len\nclass Other(nn.Module):", "Plain is no class"),
    "is no module": ("class Plain(nn.Module):", "class Plain: pass\nclass Other(nn.Module):", "no class of torch.nn"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_one_that_is_broken_is_refused_in_one_line(here: Path, what: str) -> None:
    old, new, said = BROKEN[what]
    assert old in PLAIN
    (here / "mine_other.py").write_text(PLAIN.replace(old, new), "utf-8")
    with pytest.raises(RequestError, match=said) as refused:
        rnndrop.run(asked(module="mine_other:Plain"))
    assert "\n" not in str(refused.value) and "model.module=mine_other:Plain" in str(refused.value)
    assert not (here / "runs").exists()


def test_a_sweep_with_a_broken_one_is_refused_before_anything_is_written(here: Path) -> None:
    """Each with its options: one of them is enough. Not what may need a GPU, nor what has no corpus here."""
    (here / "mine_other.py").write_text(
        PLAIN.replace("hidden, **others):", "hidden, p=0.0, **others):\n        assert p < 1, 'no such rate'"), "utf-8"
    )
    grid = asked("model.options.p=0.5,1.5", "seed=0,1", module="mine_other:Plain")
    with pytest.raises(RequestError, match=r"mine_other:Plain: .*line 8, raises AssertionError: no such rate$"):
        rnndrop.sweep(grid)
    assert not (here / "runs").exists()
    with pytest.raises(RequestError, match=r"no such rate\. Tried on the CPU: give trainer.device=cuda if it needs"):
        rnndrop.sweep([*grid, "trainer.device=auto"])
    assert not (here / "runs").exists()
    wrong = [*asked(module="mine_other:Plain"), "model.options.p=1.5"]
    try_own([compose([*wrong, "trainer.device=cuda"]), compose([*wrong, "data=text", "data.file=missing.txt"])])


def test_one_that_breaks_in_training_is_a_failed_run(here: Path) -> None:
    late = "if self.training and len(tokens) > 30: raise RuntimeError('late')\n        x, state ="
    (here / "mine_other.py").write_text(PLAIN.replace("x, state =", late), "utf-8")
    record = rnndrop.run(asked(module="mine_other:Plain"))
    assert record.status == "failed" and record.error is not None and "RuntimeError: late" in record.error


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["model.module=Net"], "PACKAGE.MODULE:NAME"),
        (["model.module=nowhere:Net"], "no module nowhere"),
        (["model.options.hidden=3"], "give model.hidden instead"),
        (["model.options.a.b=3"], "No setting 'model.options.a.b'"),
        (["model.options={p:{q:1}}"], r"model.options.p=.*text, a number"),
        (["model.options.p=nan"], "model.options.p=nan: .*finite"),
        (["dropout=variational"], "dropout.embedding has no meaning for model.module=mine_net:Net: .*WeightDrop"),
        (["dropout.token.kind=unigram", "dropout.token.p=0.1"], "dropout.token has no meaning"),
        (["twin=pi"], "twin.loss has no meaning"),
        (["trainer.tar=1"], "trainer.tar has no meaning"),
        (["trainer.init_by_width=true"], "draws its own initial weights"),
        (["trainer.precision=bf16"], "trainer.precision=bf16 has no meaning"),
        (["evaluation=cache"], "evaluation.cache.size has no meaning"),
        (["evaluation.mc.samples=2"], "evaluation.mc.masks=window evaluation.mc.embedding=true"),
        ([*MC, "evaluation.mc.rate=0.5"], "evaluation.mc.rate has no meaning"),
        (["task=sentiment", "data=movie_reviews"], "model.module has no meaning for task=sentiment"),
    ],
)  # fmt: skip
def test_settings_without_meaning_for_it_are_refused(more: list[str], said: str) -> None:
    with pytest.raises(RequestError, match=said) as refused:
        compose([*asked(), *more])
    assert str(refused.value).count("\n") <= 1


def test_there_are_no_masks_to_show() -> None:
    with pytest.raises(RequestError, match="mine_net:Net draws its masks itself"):
        views(compose(asked()), 0)


def test_settings_that_do_nothing_are_named() -> None:
    assert compose(asked("model.cell=gru")).without_effect == [
        "model.cell=gru does nothing here: model.module=mine_net:Net has its own."
    ]
    assert "model.options.p does nothing" in compose([*TINY, "model.options.p=0.1"]).without_effect[0]
