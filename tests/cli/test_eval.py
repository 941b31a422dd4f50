"""`rnndrop eval` from the command line: other means, a temperature, ensembles, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from rnndrop.display.digits import number
from tests.conftest import SMALL, Command
from tests.edited import as_json
from tests.reviews import SMALL as RATED
from tests.reviews import write

RUN = [*SMALL, "dropout.recurrent.kind=locked", "dropout.recurrent.p=.4"]


@pytest.fixture
def names(rnndrop: Command) -> list[str]:
    """Two seeds of a run."""
    done = [rnndrop("run", *RUN, f"seed={seed}", "--json") for seed in (0, 1)]
    assert all(each.returncode == 0 for each in done), done
    return [f"{json.loads(each.stdout)['run_id']}/seed-{seed}" for seed, each in enumerate(done)]


def test_what_is_measured_is_said_and_recorded(rnndrop: Command, names: list[str]) -> None:
    done = rnndrop("eval", names[0], "--mc", "3", "evaluation.mc.power=0", "evaluation.mc.rate=0.8")
    assert (done.returncode, done.stdout.count("MC (3 samples, power 0, rate 0.8) ")) == (0, 2), done.stderr
    record = json.loads(rnndrop("eval", names[0], "evaluation=temperature", "--json").stdout)
    metrics = record["metrics"]
    assert metrics["mc"] == {
        "samples": 3, "masks": "pass", "embedding": False, "power": 0.0, "rate": 0.8, "estimator": "jackknife",
    }  # fmt: skip
    found, value = metrics["temperature"]["value"], metrics["test_perplexity_temperature"]
    assert metrics["valid_perplexity_temperature"] <= metrics["valid_perplexity"]
    usual = rnndrop("eval", names[0], "--mc", "2").stdout
    assert "MC (2 samples) " in usual and f"temperature ({found:g}) {number(value)}" in usual.splitlines()[1]
    (row,) = json.loads(rnndrop("report", "--format", "json").stdout)
    assert row["test_perplexity_mc"] and "test_perplexity_cache" not in row
    assert row["test_perplexity_temperature"] == value


def test_an_ensemble(rnndrop: Command, names: list[str], tmp_path: Path) -> None:
    done = rnndrop("eval", "--ensemble", *names)
    assert done.returncode == 0, done.stderr
    found = json.loads(rnndrop("eval", names[0], f"results/runs/{names[1]}", "--ensemble", "--json").stdout)
    assert [each["run"] for each in found["members"]] == names and found["forward_passes"] == 2
    assert found["members"][1]["folder"] == f"results/runs/{names[1]}"
    rows = [*found["members"], found]
    lines = [f"valid {number(row['valid_perplexity'])}   test {number(row['test_perplexity'])}" for row in rows]
    assert [line[len(names[0]) + 3 :] for line in done.stdout.splitlines()[:3]] == lines
    assert done.stdout.splitlines()[2].startswith("mean of 2 ") and "--mc 2 takes" in done.stdout.splitlines()[3]
    of_members = [math.log(row["test_perplexity"]) for row in found["members"]]
    assert math.log(found["test_perplexity"]) < sum(of_members) / 2  # Jensen's inequality, token by token
    alone = json.loads(rnndrop("eval", "--ensemble", names[0], "evaluation.batch_size=1", "--json").stdout)
    assert alone["test_perplexity"] == alone["members"][0]["test_perplexity"] != rows[0]["test_perplexity"]


def test_what_is_refused_is_named_in_one_line(rnndrop: Command, names: list[str], tmp_path: Path) -> None:
    write(tmp_path / "reviews.tsv")
    rated = json.loads(rnndrop("run", *RATED, "data.file=reviews.tsv", "--json").stdout)["run_id"]
    other = json.loads(rnndrop("run", *RUN, "data.train_tokens=3000", "--json").stdout)["run_id"]
    for arguments, named in [
        (["--ensemble", *names, names[0]], f"{names[0]} is the same run as"),
        (["--ensemble", names[0], other], f"{other}/seed-0 has another corpus or vocabulary"),
        (["--ensemble", names[0], rated], f"{rated}/seed-0 is of task=sentiment"),
        (["--ensemble", *names, "--mc", "3"], "leave out --mc"),
        (["--ensemble", *names, "--embedding"], "leave out --mc"),
        (["--ensemble", *names, "evaluation=cache"], "leave out evaluation.cache"),
        (["--ensemble", *names, "model.hidden=3"], "model.hidden=3: a finished run can only be given"),
        (
            [names[0], "--mc", "2", "evaluation.mc.rate=2.5"],
            "evaluation.mc.rate=2.5 makes 1 of dropout.recurrent.p=0.4",
        ),
        ([names[0], "--mc", "2", "evaluation.mc.power=2"], "evaluation.mc.power=2: "),
        ([names[0], "evaluation.mc.power=0"], "Nothing is asked for"),
        ([rated, "--mc", "2", "evaluation.mc.power=0"], "evaluation.mc.power has no meaning for task=sentiment"),
        ([rated, "evaluation=temperature"], "evaluation.temperature.tune has no meaning for task=sentiment"),
    ]:
        done = rnndrop("eval", *arguments)
        said = [line for line in done.stderr.splitlines() if "seeds; this is seed" not in line]
        assert (done.returncode, done.stdout, len(said)) == (2, "", 1) and named in said[0], (arguments, done)
    done = rnndrop("eval", "--ensemble", names[0], "nowhere")
    assert done.returncode == 2 and "No run in results/runs 'nowhere'" in done.stderr


def test_a_rate_changes_the_ratings_of_reviews_too(rnndrop: Command, tmp_path: Path) -> None:
    write(tmp_path / "reviews.tsv")
    name = json.loads(rnndrop("run", *RATED, "data.file=reviews.tsv", "dropout=variational", "--json").stdout)["run_id"]
    usual, other = (
        json.loads(rnndrop("eval", name, "--mc", "3", f"evaluation.mc.rate={rate}", "--json").stdout)["metrics"]
        for rate in (1, 0.5)
    )
    assert usual["test_rmse_mc"] != other["test_rmse_mc"] and other["mc"]["rate"] == 0.5


def test_all_seeds_are_measured_and_what_is_measured_is_skipped(
    rnndrop: Command, names: list[str], tmp_path: Path
) -> None:
    other = json.loads(rnndrop("run", *SMALL, "trainer.keep_weights=false", "--json").stdout)["run_id"]
    arguments = ["eval", "--where", "status=finished", "--mc", "2", "--jobs", "2"]
    done = rnndrop(*arguments)
    assert done.returncode == 1 and f"{other}/seed-0 has no weights" in done.stderr, done
    assert sorted(line.split(":")[0] for line in done.stdout.splitlines()) == names
    assert done.stdout.count("MC (2 samples) ") == 4
    again = rnndrop(*arguments, "--where", "recurrent.p=0.4", "--json")
    assert again.returncode == 0 and "2 runs: 2 finished" in again.stderr, again
    assert [each["metrics"]["mc"]["samples"] for each in json.loads(again.stdout)] == [2, 2]
    (row,) = json.loads(rnndrop("report", "--where", "recurrent.p=0.4", "--format", "json").stdout)
    assert row["test_perplexity_mc"] and row["test_perplexity_mc_std"] is not None  # of both seeds
    old = tmp_path / "results/runs/0123abcd/seed-0"
    old.parent.mkdir()
    (tmp_path / "results/runs" / names[0]).rename(old)
    content = json.loads((old / "record.json").read_text())
    (old / "record.json").write_text(as_json({**content, "run_id": "0123abcd"}))
    done = rnndrop("eval", "--where", "recurrent.p=0.4", "--mc", "2")
    assert done.returncode == 1 and "0123abcd/seed-0 has a run id of before, of eight digits: it is" in done.stderr
    done = rnndrop(*arguments, "evaluation.window=3")
    assert done.returncode == 2 and "evaluation.window=3: several runs" in done.stderr


def test_what_a_killed_measurement_has_left_is_measured_at_once(
    rnndrop: Command, names: list[str], tmp_path: Path
) -> None:
    """Its last beat says for a while that somebody is at work; its lock does not."""
    beat = tmp_path / "results/runs" / names[0] / "heartbeat.json"
    beat.write_text('{"host": "elsewhere", "pid": 77}')
    done = rnndrop("eval", "--where", "status=finished", "--mc", "2", "--json")
    assert done.returncode == 0 and "left out" not in done.stderr, done.stderr
    assert [each["metrics"]["mc"]["samples"] for each in json.loads(done.stdout)] == [2] * len(names)
    assert not beat.exists()
