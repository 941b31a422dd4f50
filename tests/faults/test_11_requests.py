"""What was taken without a word, or refused with the wrong one: texts, corpora, searches, ablations and plots."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import rnndrop
from cli.ablate import _text
from cli.plot import plot
from cli.show import command
from rnndrop import data
from rnndrop.config.compose import compose
from rnndrop.config.identity import run_id
from rnndrop.config.settings import explain
from rnndrop.errors import RequestError
from rnndrop.report import series, terminal
from rnndrop.report.compare import compare
from rnndrop.report.frames import load_runs
from rnndrop.report.sheet import sheets
from rnndrop.sweeps.ablation import Effect
from rnndrop.sweeps.cluster import read_settings
from rnndrop.sweeps.search_audit import audit_searches
from rnndrop.sweeps.tuning import search
from tests.conftest import SMALL, Command
from tests.invented import write_run

LINE = "the cat sat on the mat and the dog sat on the cat " * 40


def text(file: Path, level: str = "char") -> Any:
    settings = {"name": "text", "level": level, "root": None, "train_tokens": None, "train": None, "valid": None,
                "test": None, "file": str(file), "split": (0.8, 0.1, 0.1), "min_count": 1}  # fmt: skip
    return data.load(SimpleNamespace(**settings))


@pytest.mark.parametrize("level", ["char", "word"])
@pytest.mark.parametrize("ends", ["\n", "\n\n"])
def test_11_a_text_of_one_line_has_no_word_that_training_lacks(tmp_path: Path, level: str, ends: str) -> None:
    (tmp_path / "one.txt").write_text(LINE.strip() + ends)
    corpus = text(tmp_path / "one.txt", level)
    assert "<unk>" not in corpus.vocabulary and "<eos>" not in corpus.vocabulary
    whole = LINE.split() if level == "word" else list(LINE.strip())
    assert [corpus.vocabulary[at] for name in ("train", "valid", "test") for at in corpus.split(name)] == whole


def test_11_ten_lines_keep_their_ends(tmp_path: Path) -> None:
    (tmp_path / "ten.txt").write_text("a b\n" * 10)
    corpus = text(tmp_path / "ten.txt")
    assert [corpus.vocabulary[at] for at in corpus.test] == ["a", " ", "b", "<eos>"]


def test_11_a_stray_nul_is_not_taken_for_utf_16(tmp_path: Path) -> None:
    (tmp_path / "nul.txt").write_text(LINE + "\0" + LINE)
    with pytest.raises(RequestError, match=r"holds 1 NUL character\. Take it out first: tr -d '\\000'"):
        text(tmp_path / "nul.txt")
    for line in (LINE, "кошка сидит на ковре " * 40):
        for order in ("LE", "BE"):
            (tmp_path / "wide.txt").write_bytes(line.encode(f"utf-16{order}"))
            with pytest.raises(RequestError, match=f"as UTF-16{order} does"):
                text(tmp_path / "wide.txt")


def test_11_a_pipe_is_not_called_empty(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    held = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK)  # else reading it would wait for ever
    config = compose(["data=text", f"data.file={tmp_path / 'pipe'}"])  # nothing is waited for
    with pytest.raises(RequestError, match="is a pipe or a device"):
        data.load(config.data)
    os.close(held)


def test_11_a_corpus_of_unsigned_ids_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "unsigned.py").write_text(
        "import numpy as np\nfrom rnndrop.data.corpus import Corpus\n"
        "def load(settings):\n"
        "    ids = np.arange(600, dtype=np.uint16) % 50\n"
        "    return Corpus('u16', settings.level, [str(n) for n in range(50)], ids, ids[:90], ids[:101])\n"
    )
    record = rnndrop.run([*SMALL[:-3], "data=unsigned:load", "trainer.epochs=1", "trainer.batch_size=4", "output=rr"])
    assert record.status == "finished", record.error
    corpus = data.load(compose(["data=unsigned:load"]).data)
    assert np.issubdtype(corpus.test.dtype, np.signedinteger)


def test_11_settings_that_a_corpus_does_not_read_are_named() -> None:
    split, root = "data.split=[0.5,0.25,0.25]", "data.root=/elsewhere"
    assert [line.split()[0] for line in compose(["data=synthetic", split, root]).without_effect] == [
        "data.root", "data.split",
    ]  # fmt: skip
    assert [line.split()[0] for line in compose(["data=ptb", split, root]).without_effect] == ["data.split"]
    assert not compose(["data=text", "data.file=x.txt", split]).without_effect
    assert not compose(["data=movie_reviews", "task=sentiment", split, root]).without_effect
    assert compose(["data=text", "data.train=a", "data.valid=b", "data.test=c", split]).without_effect


def test_11_the_baseline_is_called_so_and_no_other_row_is() -> None:
    none = Effect("", "", 0, None)
    said = _text([none, Effect("without input", "locked .2", 3, 241.0), Effect("without cell", "", 0, None)]).split(
        "\n"
    )
    assert "baseline" in said[2] and "no baseline" in said[3] and "baseline" not in said[4]
    below = Effect("without input", "locked .2", 3, -2.1, difference=-1.0)
    assert "-1 (no ratio)" in _text([Effect("", "", 3, -1.1), below])


def test_11_a_range_of_plans_is_refused() -> None:
    with pytest.raises(RequestError, match="name the plans, as dropout=naive,variational"):
        search(["dropout=interval(0,1)"], 2, 1)


def test_11_fresh_seeds_that_would_repeat_a_trial_are_refused() -> None:
    fixed = ["dropout=naive", "seeds.init=0", "seeds.masks=0"]
    with pytest.raises(RequestError, match="naive: one of its trials is the same run with every seed"):
        search(fixed, 2, 3)
    assert search(fixed, 2, 0).studies
    rates = ["dropout.recurrent.kind=locked", "dropout.recurrent.p=interval(0.1,0.7)"]  # masks, but in no single base
    assert search(["dropout=none", *rates, "seeds.init=0"], 2, 3).studies
    with pytest.raises(RequestError, match="none: one of its trials is the same run"):  # the one at 0
        search(["dropout=none", rates[0], "dropout.recurrent.p=0,0.5", "seeds.init=0"], 2, 3)


def test_11_a_search_is_drawn_and_audited_by_itself(rnndrop: Command, tmp_path: Path) -> None:
    done = rnndrop("tune", *SMALL, "dropout=naive", "--trials", "2", "--seeds", "1", "output=rr")
    assert done.returncode == 0, done.stderr
    assert all(verdict.state == "sound" for verdict in audit_searches(tmp_path / "rr"))
    (file,) = (tmp_path / "rr" / "searches").glob("*.json")
    tree = json.loads(file.read_text())
    tree["plans"][0]["fresh"][0]["test"] = 12.3
    tree.pop("sha256", None)
    file.write_text(json.dumps(tree))
    (verdict,) = audit_searches(tmp_path / "rr")
    assert verdict.state == "damaged" and "had test 12.3" in verdict.reason
    for record in (tmp_path / "rr").rglob("record.json"):  # while the first search still runs there are trials alone
        own = json.loads(record.read_text())
        if own["config"]["label"] is None:
            record.unlink()
    drawn = rnndrop("plot", "trials", "rr")
    assert drawn.returncode == 0 and "expected best valid perplexity" in drawn.stdout


def test_11_lines_that_the_terminal_leaves_out_are_counted(tmp_path: Path) -> None:
    for place in ("input", "hidden", "output", "cell", "state", "recurrent", "update"):
        for p in (0.1, 0.2):
            asked = ["dropout=none", f"dropout.{place}.kind=locked", f"dropout.{place}.p={p}"]
            write_run(tmp_path, asked, 1, 100.0 + p)
    runs = load_runs(tmp_path)
    table = compare(runs)
    more = len(series.rates(table, "test_perplexity")) - terminal.LINES
    said = terminal.rates(table, runs, "test_perplexity", 80, False)
    assert more > 0 and f"{more} more lines not shown" in said


def test_11_a_bootstrap_without_its_files_says_what_it_needs(tmp_path: Path) -> None:
    write_run(tmp_path, ["dropout=none"], 1, 100.0)
    runs = load_runs(tmp_path)
    (sheet,) = sheets(compare(runs, bootstrap=True), runs, "test_perplexity")
    assert any("no interval of the test set for any row" in note for note in sheet.notes)
    assert not any("bootstrap over blocks" in note for note in sheet.notes)


def test_11_plot_of_searches_asks_for_a_search(tmp_path: Path) -> None:
    write_run(tmp_path, ["dropout=none"], 1, 100.0)
    with pytest.raises(RequestError, match="No search in this folder"):
        plot("trials", str(tmp_path), None, None, None, None, [], None, False)


def test_11_what_is_typed_beside_mc_counts(rnndrop: Command, tmp_path: Path) -> None:
    assert rnndrop("run", *SMALL, "dropout=variational", "output=rr").returncode == 0
    (folder,) = (tmp_path / "rr").glob("*/seed-0")
    done = rnndrop("eval", str(folder), "--mc", "3", "evaluation.mc.masks=window", "evaluation.mc.embedding=true")
    assert done.returncode == 0, done.stderr
    measured = json.loads((folder / "record.json").read_text())["metrics"]["mc"]
    assert (measured["samples"], measured["masks"], measured["embedding"]) == (3, "window", True)


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of options of one's own, found from where one is."""
    monkeypatch.chdir(tmp_path)
    for group in ("model", "dropout", "experiment"):
        (tmp_path / "rnndrop_conf" / group).mkdir(parents=True)
    return tmp_path / "rnndrop_conf"


def test_11_no_option_has_the_name_of_a_cell(options: Path) -> None:
    (options / "model" / "gru.yaml").write_text("defaults: [base, _self_]\nhidden: 400\n")
    with pytest.raises(RequestError, match="has a cell of this name"):
        compose(["model=gru"])


def test_11_links_that_an_editor_makes_are_passed_over(options: Path) -> None:
    (options / "dropout" / ".#mine.yaml").symlink_to("user@host.123")
    assert compose(["dropout=naive"]).dropout.name == "naive"
    (options / "dropout" / "mine.yaml").symlink_to("nowhere.yaml")
    with pytest.raises(RequestError, match=r"Cannot read .*mine\.yaml: No such file"):
        compose(["dropout=naive"])


@pytest.mark.parametrize(("value", "said"), [("", "dropout=null"), (" naive", "dropout=naive"), (" 3", "dropout=3")])
def test_11_an_experiment_whose_dropout_is_no_plan_is_told(options: Path, value: str, said: str) -> None:
    (options / "experiment" / "mine.yaml").write_text(f"# @package _global_\ndropout:{value}\n")
    with pytest.raises(RequestError, match=said):
        compose(["experiment=mine"])


@pytest.mark.parametrize("value", ["!!bool x", "!!int ''", "!!timestamp x"])
def test_11_an_experiment_that_no_yaml_can_mean_is_named(options: Path, value: str) -> None:
    (options / "experiment" / "mine.yaml").write_text(f"# @package _global_\nseed: {value}\n")
    with pytest.raises(RequestError, match="experiment=mine: cannot read a file of its settings"):
        compose(["experiment=mine"])
    with pytest.raises(RequestError, match=r"hydra\.launcher\.mem_gb=.* cannot be read; quote a text"):
        read_settings("submitit_slurm", {"mem_gb": value}, ["mem_gb"], [])


REFUSED = {
    "decide dropout=variational,naive --pilot 0.6%,4.9%": "--pilot needs --plan-only",
    "masks dropout=variational --seed 99999999999999999999": "--seed",
    "plot trials . --where dropout=naive": "leave out --where and --last",
    "report . --html r.html --only-changed": "--html writes every column",
}


@pytest.mark.parametrize("typed", REFUSED)
def test_11_what_would_do_nothing_is_refused(rnndrop: Command, typed: str) -> None:
    done = rnndrop(*typed.split())
    assert done.returncode == 2 and REFUSED[typed] in done.stderr and "Traceback" not in done.stderr


def test_11_help_takes_an_option_of_a_model_of_ones_own() -> None:
    assert explain("model.options.p") == explain("model.options")


def test_11_show_repeats_a_run_of_reviews_whose_option_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    config = compose(["task=sentiment", "model.layers=2", "data.types=null", "dropout=naive"])
    record = SimpleNamespace(
        overrides=["task=sentiment", "dropout=mine"],
        config=config.model_dump(mode="json"),
        run_id=run_id(config),
        seed=0,
    )
    _, _, *typed = shlex.split(command(record))  # type: ignore[arg-type]
    assert run_id(compose(typed)) == run_id(config)


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("twin.weight=0.1", "twin.weight"),
        ("twin.share=[weight_hh]", "twin.share"),
        ("trainer.decay_after=4", "trainer.decay_after"),
        ("trainer.scaled_decay=true", "trainer.scaled_decay"),
    ],
)
def test_11_what_another_setting_switches_off_is_named(typed: str, named: str) -> None:
    (line,) = compose(["dropout=awd", typed]).without_effect
    assert line.startswith(f"{named} does nothing here")
