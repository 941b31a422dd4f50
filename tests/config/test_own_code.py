"""Noises, kinds, corpora of the user's own, by import path or as a package registers them: of a run, or refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rnndrop
from rnndrop import own
from rnndrop.config import metrics, settings
from rnndrop.config.compose import choices, compose
from rnndrop.config.identity import run_id
from rnndrop.errors import RequestError
from rnndrop.report.committed import collected
from rnndrop.report.compare import compare
from rnndrop.report.frames import load_runs
from rnndrop.runs.reevaluate import evaluate
from tests.conftest import ROOT
from tests.own_files import folder_with

SHAPE = ["data.train_tokens=2000", "model.hidden=8", "model.layers=1", "trainer.epochs=1", "trainer.device=cpu"]
NOISE = """
import torch
from rnndrop.dropout.noises import Noise

def draw(shape, p, generator, dtype):
    half = (3 * p / (1 - p)) ** 0.5
    return torch.empty(shape, dtype=dtype, device=generator.device).uniform_(1 - half, 1 + half, generator=generator)

Uniform = Noise("uniform", draw)
Weights = Noise("weights", lambda shape, p, generator, dtype: torch.zeros(shape, dtype=dtype), added=True)
"""
CORPUS = """
from rnndrop.data.assemble import assemble

def sums(settings):
    text = [f"{a} + {b} = {(a + b) % 10} ;" for a in range(10) for b in range(10)]
    return assemble("sums", settings.level, [" ".join(text * n).split() for n in (4, 1, 1)])
"""
METRIC = """
from rnndrop.config.metrics import Metric
Chance = Metric("any", "language_model", "chance of a token", "chance", lower_is_better=False, of=lambda x, c: 1 / x)
"""
KIND = "from rnndrop.dropout.rule import Kind\nGates = Kind('gates', 'batch gate')\n"
UNIFORM = ["dropout.output.kind=naive", "dropout.output.p=0.3", "dropout.output.noise=mine_noise:Uniform"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with files of one's own, and nothing left of it in this process."""
    sources = {"mine_noise": NOISE, "mine_corpus": CORPUS, "mine_kind": KIND}
    yield from folder_with(sources, tmp_path, monkeypatch)
    own.registered.cache_clear()
    metrics.added.cache_clear()
    settings.settings.cache_clear()


def test_a_noise(here: Path) -> None:
    record = rnndrop.run([*SHAPE, *UNIFORM])
    gaussian = rnndrop.run([*SHAPE, *UNIFORM[:2], "dropout.output.noise=gaussian"])
    assert record.run_id != gaussian.run_id and record.metrics != gaussian.metrics
    assert record.model["noises"] == [
        {"name": "mine_noise:Uniform", "sha256": own.source_hash("", "mine_noise:Uniform")}
    ]
    folder = here / "results" / "runs" / record.run_id / "seed-0"
    assert evaluate(folder, ["evaluation.mc.samples=2"]).metrics["test_perplexity_mc"] > 1
    (here / "mine_noise.py").write_text(NOISE.replace("(3 *", "(2 *"), "utf-8")
    second = rnndrop.run([*SHAPE, *UNIFORM])
    assert second.run_id != record.run_id and second.metrics != record.metrics
    with pytest.raises(RequestError, match="source of mine_noise:Uniform here is not the one"):
        evaluate(folder, ["evaluation.mc.samples=3"])
    (here / "mine_noise.py").unlink()
    table = compare(load_runs("results/runs"))
    plans = [plan for plan in table["plan"] if "mine_noise" in plan]
    assert len(set(plans)) == 2 and all("naive mine_noise:Uniform@" in plan for plan in plans)


def test_a_noise_that_does_nothing_is_no_part_of_a_run() -> None:
    idle = compose([*UNIFORM, "dropout.output.p=0"])
    assert run_id(idle) == run_id(compose([]))


def test_a_kind_is_its_parts() -> None:
    plain = ["dropout.input.varies=[gate,batch]", "dropout.input.p=0.3"]
    config = compose(["dropout.input.kind=mine_kind:Gates", "dropout.input.p=0.3"])
    assert run_id(config) == run_id(compose(plain)) and config.dropout.input.kind == "none"
    also = "dropout.input.also=[{kind:'mine_kind:Gates',p:0.1}]"
    assert run_id(compose([also])) == run_id(compose(["dropout.input.also=[{kind:none,varies:[batch,gate],p:0.1}]"]))
    more = compose(["dropout.input.kind=mine_kind:Gates", "dropout.input.varies=[time]", "dropout.input.p=0.3"])
    assert more.plan["input"].varies == {"time"}  # a kind whose parts are replaced, as ours


def test_a_report_names_a_kind_by_its_parts(here: Path) -> None:
    rnndrop.run([*SHAPE, "dropout=variational", "dropout.input.kind=mine_kind:Gates"])
    (here / "mine_kind.py").unlink()
    (label,) = compare(load_runs("results/runs"))["dropout"]
    assert label == "variational input.varies=[batch,gate]"


def test_a_corpus(here: Path) -> None:
    asked = ["data=mine_corpus:sums", *SHAPE[1:], "trainer.batch_size=4"]
    record = rnndrop.run(asked)
    assert record.data["name"] == "sums" and record.data["train_tokens"] == 2400
    assert record.data["source"] == {"name": "mine_corpus:sums", "sha256": own.source_hash("", "mine_corpus:sums")}
    assert rnndrop.run(["data.name=mine_corpus:sums", *asked[1:]]).run_id == record.run_id
    folder = here / "results" / "runs" / record.run_id / "seed-0"
    (here / "mine_corpus.py").write_text(CORPUS + "# as before", "utf-8")
    assert rnndrop.run(asked).run_id != record.run_id
    assert evaluate(folder, ["evaluation.cache.size=20"]).status == "finished"  # what it reads is the same
    (here / "mine_corpus.py").write_text(CORPUS.replace("% 10", "% 9"), "utf-8")
    with pytest.raises(RequestError, match="corpus 'mine_corpus:sums' here is not the one"):
        evaluate(folder, ["evaluation.cache.size=30"])
    assert len(set(compare(load_runs("results/runs"))["data_sha256"])) == 1


def test_an_option_of_ones_own_names_it(here: Path) -> None:
    (here / "rnndrop_conf" / "data").mkdir(parents=True)
    (here / "rnndrop_conf" / "data" / "sums.yaml").write_text("defaults: [base, _self_]\nname: mine_corpus:sums\n")
    assert run_id(compose(["data=sums"])) == run_id(compose(["data=mine_corpus:sums"]))


WRONG: dict[str, tuple[str, str]] = {
    "raises": ("raise ValueError('no such thing')", r"mine_wrong.py, line 1, raises ValueError: no such thing"),
    "leaves": ("\nimport sys; sys.exit(3)", r"mine_wrong.py, line 2, raises SystemExit: 3"),
    "is no Python": ("def f(:", r"line 1, raises SyntaxError"),
    "has no such name": (NOISE + KIND + CORPUS, r"there is no ROW"),
    "has another thing": ("ROW = 1", r"ROW is no"),
}
OF_NOISE = {
    "makes holes": ("Noise('n', print, holes=True)", "neither holes nor"),
    "draws nothing": ("Noise('n', lambda *_: None)", "draw returns a NoneType"),
    "draws too little": ("Noise('n', lambda *_: torch.ones(1))", r"draw returns \(1,\) of torch.float32"),
    "fails": ("Noise('n', lambda shape: 1)", "raises TypeError"),
    "takes chance from elsewhere": (
        "Noise('n', lambda shape, p, g, dtype: 2 * torch.rand(shape, dtype=dtype))",
        "two draws of one seed differ",
    ),
    "forgets the scale": (
        "Noise('n', lambda shape, p, g, dtype: torch.empty(shape, dtype=dtype).bernoulli_(1 - p, generator=g))",
        "the mean of its draws must be 1, .* and at p=0.25 it is 0.75",
    ),
    "is added": ("Weights", r"dropout.output.noise=mine_wrong:ROW has no meaning. Noises for output: bernoulli"),
}
OF_KIND = {
    "varies over nothing there": (
        "Kind('k', 'type')",
        "'mine_wrong:ROW' varies over type and a mask on input can vary",
    ),
    "has a fill of elsewhere": ("Kind('k', 'batch', fill='previous')", "varies over batch, filled with 'previous'"),
}
OF_CORPUS = {
    "returns another thing": ("lambda settings: 3", "it is of type int, not rnndrop.data.corpus.Corpus"),
    "fails": ("lambda settings: settings.nothing", "line 1.*raises AttributeError"),
    "leaves": ("lambda settings: exit(2)", "raises SystemExit: 2"),
    "has ids of no type": ("corpus([0, 1, 7])", "train has ids from 0 to 7, and the vocabulary has 2 types"),
    "is empty": ("corpus([])", "nothing to predict"),
    "has no numbers": ("corpus(['a', 'b'])", "not an array of whole numbers"),
    "has no load": ("CorpusSpec('x', 'language_model', __name__)", "mine_wrong has no function load"),
    "is of another task": ("CorpusSpec('x', 'sentiment', __name__, function=print)", "is for task=sentiment"),
}
MAKES_CORPUS = """
import numpy as np
from rnndrop.config.corpora import CorpusSpec
from rnndrop.data.corpus import Corpus
def corpus(ids):
    ids = np.array(ids)
    return lambda settings: Corpus('x', 'word', ['a', 'b'], ids, ids, ids)
"""
CASES = [
    *((setting, *each) for setting in ("noise", "kind", "corpus") for each in WRONG.values()),
    *(("noise", f"{NOISE}ROW = {row}", said) for row, said in OF_NOISE.values()),
    *(("kind", f"{KIND}ROW = {row}", said) for row, said in OF_KIND.values()),
    *(("corpus", f"{'' if 'nothing' in row else MAKES_CORPUS}ROW = {row}", said) for row, said in OF_CORPUS.values()),
]
ASKED = {
    "noise": ["dropout.output.kind=naive", "dropout.output.p=0.1", "dropout.output.noise=mine_wrong:ROW"],
    "kind": ["dropout.input.p=0.1", "dropout.input.kind=mine_wrong:ROW"],
    "corpus": ["data=mine_wrong:ROW"],
}


@pytest.mark.parametrize(("thing", "source", "said"), CASES)
def test_what_cannot_be_had_is_refused_in_a_line(here: Path, thing: str, source: str, said: str) -> None:
    (here / "mine_wrong.py").write_text(source, "utf-8")
    with pytest.raises(RequestError, match=said) as refused:
        rnndrop.run([*ASKED[thing], *SHAPE[1:]])
    assert "mine_wrong:ROW" in str(refused.value) or "task" in said
    assert not (here / "results").exists()


@pytest.mark.parametrize("thing", ASKED)
def test_what_is_not_there_is_refused_when_it_is_asked_for(thing: str) -> None:
    with pytest.raises(RequestError, match="no module mine_wrong in") as refused:
        compose(ASKED[thing])
    assert str(refused.value).startswith(f"{ASKED[thing][-1]}: ")


@pytest.mark.parametrize(
    "rule",
    [
        "{kind: zoneout, p: 0.1, noise: 'mine_noise:Uniform'}",  # whose holes are Bernoulli's
        "{kind: naive, p: 0.1, noise: 'mine_noise:Uniform', block: 3}",
    ],
)
def test_a_noise_of_ones_own_makes_no_holes(here: Path, rule: str) -> None:
    with pytest.raises(RequestError, match=r"dropout.cell"):
        compose([f"dropout.cell={rule}"])


@pytest.fixture
def package(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that registers one of each."""
    facts = here / "site" / "mine_package-1.2.dist-info"
    facts.mkdir(parents=True)
    (here / "site" / "mine_package.py").write_text(NOISE + KIND + CORPUS, "utf-8")
    (here / "site" / "mine_package_metric.py").write_text(METRIC, "utf-8")
    shutil.copy(Path(__file__).parents[1] / "toys" / "cell.py", here / "site" / "mine_package_cell.py")
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: mine-package\nVersion: 1.2\n")
    (facts / "top_level.txt").write_text("mine_package\n")
    (facts / "entry_points.txt").write_text(
        "[rnndrop.noises]\nuniform = mine_package:Uniform\ngaussian = mine_package:Nothing\n"
        "[rnndrop.kinds]\ngates = mine_package:Gates\n[rnndrop.corpora]\nsums = mine_package:sums\n"
        "[rnndrop.metrics]\nchance = mine_package_metric:Chance\nbroken = mine_package_gone:X\nperplexity = gone:X\n"
        "[rnndrop.tasks]\nlargest = mine_package:Largest\n"
        "[rnndrop.cells]\nmgu = mine_package_cell:ROW\nbroken = mine_package_gone:ROW\n"
    )
    monkeypatch.syspath_prepend(here / "site")
    own.registered.cache_clear()
    metrics.added.cache_clear()
    settings.settings.cache_clear()
    return here / "site"


def test_what_a_package_registers_is_a_name_like_ours(package: Path) -> None:
    rules = ["dropout.input.kind=gates", "dropout.input.p=0.1", *UNIFORM[:2], "dropout.output.noise=uniform"]
    record = rnndrop.run(["data=sums", "model=mgu", *SHAPE[1:], "trainer.batch_size=4", *rules])
    (noise,) = record.model["noises"]
    assert (noise["name"], noise["package"], noise["version"]) == ("mine_package:Uniform", "mine-package", "1.2")
    assert record.data["source"]["name"] == "mine_package:sums" and record.model["gates"] == 2
    by_path = [
        "data.name=mine_package:sums",
        "model.cell=mine_package_cell:ROW",
        "dropout.input.kind=mine_package:Gates",
    ]
    again = compose(
        [*by_path, *SHAPE[1:], "trainer.batch_size=4", *rules[1:-1], "dropout.output.noise=mine_package:Uniform"]
    )
    assert run_id(again) == record.run_id
    (package / "mine_package.py").write_text(NOISE + KIND + CORPUS + "# changed", "utf-8")
    assert run_id(again) != record.run_id
    assert run_id(compose([*UNIFORM[:2], "dropout.output.noise=gaussian"])) not in ("", record.run_id)  # ours wins


def test_it_is_listed_and_suggested(package: Path) -> None:
    assert choices("data")["sums"] == choices("model")["mgu"] == "Of the package mine-package."
    assert "largest" in choices("task") and compose(["task=largest"]).task == "mine_package:Largest"
    for key, name in (("model.cell", "mgu"), ("dropout.input.noise", "uniform"), ("dropout.input.kind", "gates")):
        assert name in settings.explain(key).choices  # type: ignore[union-attr]
    for asked, said in (
        ("data=smus", "Did you mean 'sums'"),
        ("model.cell=mgru", "mgu broken|broken mgu"),
        ("dropout.output.noise=unifrom", "Did you mean 'uniform'"),
        ("dropout.output.kind=gate", "Did you mean 'gates'"),
    ):
        with pytest.raises(RequestError, match=said):
            compose([asked])


def test_a_broken_package_is_named_when_it_is_used(package: Path) -> None:
    compose(["model.cell=mgu"])
    with pytest.raises(
        RequestError, match=r"model\.cell=mine_package_gone:ROW: no module mine_package_gone"
    ) as refused:
        compose(["model.cell=broken"])
    assert "\n" not in str(refused.value)


def test_a_metric_of_a_package_is_in_reports_and_in_no_record(package: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = rnndrop.run(SHAPE)
    assert not any("chance" in name for name in record.metrics)
    runs = load_runs("results/runs")
    assert (runs["test_chance"] * runs["test_perplexity"]).to_list() == pytest.approx([1])
    assert compare(runs, metric="test_chance")["test_chance"].notna().all()
    committed = collected(ROOT / "results" / "zaremba_small.csv")
    assert (committed["test_chance"] * committed["test_perplexity"]).to_list() == pytest.approx([1])
    (said,) = (line for line in caplog.messages if "broken" in line)
    assert said.startswith("rnndrop.metrics: broken=mine_package_gone:X: no module") and "mine-package" in said
    (package / "mine_package_metric.py").write_text(METRIC.replace("1 / x", "1 / 0"), "utf-8")
    metrics.added.cache_clear()
    assert load_runs("results/runs")["test_chance"].isna().all() and "raises ZeroDivisionError" in caplog.messages[-1]


@pytest.mark.e2e
def test_workers_find_it_and_plans_import_nothing(here: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-P", "-c", "from rnndrop.cli.main import main; main()"]
        return subprocess.run([*program, *arguments], capture_output=True, text=True, cwd=here)

    asked = ["data=mine_corpus:sums", *SHAPE[1:], "trainer.batch_size=4", *UNIFORM]
    shown = command("sweep", *asked, "seed=0,1", "--jobs", "2", "--json")
    assert shown.returncode == 0, shown.stderr
    assert [record["data"]["source"]["name"] for record in json.loads(shown.stdout)] == ["mine_corpus:sums"] * 2
    code = (
        "import sys\nfrom rnndrop.config.compose import compose\nfrom rnndrop.config.identity import run_id\n"
        f"run_id(compose({[*asked, 'dropout.input.kind=mine_kind:Gates']!r}))\n"
        "assert not {'torch', 'mine_noise', 'mine_corpus'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], cwd=here).returncode == 0
