"""decide, as a user meets it: on recorded scores, and on runs of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnndrop.decisions.audit import audit_decisions
from rnndrop.decisions.document import Decision, paths, read
from tests.conftest import SMALL, TINY, Command
from tests.edited import as_json
from tests.invented import write_run
from tests.processes import wait_until
from tests.warm import Warm

PLANS = ("dropout=none", "dropout=naive", "dropout=locked")
EPOCHS = [*SMALL, "trainer.batch_size=4", "trainer.epochs=1,4"]
"""Four epochs are better than one, and a few seeds show it."""


def record(folder: Path, ln: Sequence[Sequence[float]], overrides: Sequence[str] = ()) -> None:
    """Record finished runs of the first plans: a row of ln perplexities a seed."""
    for seed, row in enumerate(ln):
        for plan, value in zip(PLANS, row, strict=False):
            write_run(folder / "results/runs", [plan, *overrides], seed, float(np.exp(value)))


def noisy(means: Sequence[float], std: float, seeds: int = 20) -> list[list[float]]:
    found: list[list[float]] = (5 + np.array(means) + std * np.random.default_rng(3).standard_normal(
        (seeds, len(means)))).tolist()  # fmt: skip
    return found


def decision(folder: Path) -> Decision:
    (path,) = paths(folder / "results/runs")
    found = read(path)
    assert found
    return found


def test_recorded_scores_are_decided_without_training(rnndrop: Command, tmp_path: Path) -> None:
    record(tmp_path, noisy([0, 0.1], 0.02))
    done = rnndrop("decide", "dropout=none,naive")
    assert done.returncode == 0, done.stderr
    verdict, path = done.stdout.splitlines()
    assert verdict.startswith("✓ dropout=none is better than dropout=naive: test perplexity −") and path.endswith(
        ".json"
    )
    found = decision(tmp_path)
    looks = [line for line in done.stderr.splitlines() if "seed" in line and " E " in line and " of 20" in line]
    assert len(looks) == len(found.looks) < 20
    assert (found.verdict, found.best) == ("better", 0)
    assert [len(entry.scores) for entry in found.contestants] == [len(found.looks)] * 2
    before = (tmp_path / path).read_bytes()
    printed = rnndrop("decide", "dropout=none,naive", "--json")
    assert printed.stdout.encode() == before == (tmp_path / path).read_bytes()
    assert Decision.from_json(printed.stdout) == found
    (tmp_path / "results/runs").rename(tmp_path / "elsewhere")
    moved = rnndrop("decide", "dropout=none,naive", "output=elsewhere", "label=mine", "--json")
    assert moved.stdout.encode() == before  # which says neither where nor what it is called


def test_reports_and_doctor_know_of_it(rnndrop: Command, tmp_path: Path) -> None:
    record(tmp_path, noisy([0, 0.001], 0.003))
    assert "decided" not in rnndrop("report").stdout
    assert "decisions" not in json.loads(rnndrop("report", "--format", "json").stdout)[0]
    assert "equal within 1 %" in rnndrop("decide", "dropout=none,naive").stdout
    for style in ("rich", "md", "html", "latex"):
        assert "are equal within" in " ".join(rnndrop("report", "--format", style).stdout.split())
    for row in json.loads(rnndrop("report", "--format", "json").stdout):
        assert "equal within 1 %" in row["decisions"]
    assert "decided" not in rnndrop("report", "--where", "dropout=none").stdout
    page = rnndrop("report", "--html", "page.html")
    assert page.returncode == 0 and "are equal within 1 %" in (tmp_path / "page.html").read_text("utf-8")
    assert rnndrop("doctor", "results/runs").stdout.endswith("41 sound\n")


def edit(path: Path, change: Any) -> None:
    content = json.loads(path.read_text("utf-8"))
    change(content)
    path.write_text(as_json(content) if path.name == "record.json" else json.dumps(content), "utf-8")


def test_what_does_not_follow_from_the_records_is_found(rnndrop: Command, tmp_path: Path) -> None:
    record(tmp_path, noisy([0, 0.1], 0.02))
    assert rnndrop("decide", "dropout=none,naive").returncode == 0
    output = tmp_path / "results/runs"
    (path,) = paths(output)
    text = path.read_text("utf-8")
    assert [each.state for each in audit_decisions(output)] == ["sound"]
    changes: dict[str, Any] = {
        "a look": lambda tree: tree["looks"][1]["pairs"][0].update(ln_e=3.5),
        "the verdict": lambda tree: tree.update(verdict="worse"),
        "a score": lambda tree: tree["contestants"][1]["scores"].__setitem__(0, 1.0),
        "fewer looks": lambda tree: tree["looks"].pop(),
        "another error rate": lambda tree: tree["rule"].update(alpha=0.001),
        "a type": lambda tree: tree.update(looks={}),
        "a contestant": lambda tree: tree["contestants"].pop(),
        "no number": lambda tree: tree["contestants"][0]["scores"].__setitem__(0, float("nan")),
        "a negative score": lambda tree: tree["contestants"][0]["scores"].__setitem__(0, -1.0),
        "no error rate": lambda tree: tree["rule"].update(alpha=0),
        "no mixture": lambda tree: tree["rule"].update(c2=0),
        "another metric": lambda tree: tree.update(metric="taste"),
        "a newer schema": lambda tree: tree.update(schema=2),
        "an unknown best": lambda tree: tree.update(best=7),
        "a list": lambda tree: tree.clear(),
    }
    for name, change in changes.items():
        edit(path, change)
        (found,) = audit_decisions(output)
        assert found.state == "damaged" and found.reason, name
        assert rnndrop("report").returncode == 0, name
        path.write_text(text, "utf-8")
    run = decision(tmp_path).contestants[0].run_id
    edit(output / run / "seed-1/record.json", lambda tree: tree["metrics"].update(test_perplexity=7.0))
    assert "seed-1 had" in next(iter(audit_decisions(output))).reason
    assert rnndrop("doctor", "results/runs").returncode == 1


def test_losers_of_a_race_get_no_more_seeds(rnndrop: Command, tmp_path: Path) -> None:
    scores = noisy([0, 0.004, 0.3], 0.02)
    record(tmp_path, [row if seed < 6 else row[:2] for seed, row in enumerate(scores)])
    done = rnndrop("decide", "dropout=none,naive,locked")
    assert done.returncode == 0, done.stderr
    found = decision(tmp_path)
    assert found.verdict == "undecided" and found.contestants[2].outcome == "worse"
    assert "dropout=locked is worse than dropout=" in done.stdout and "undecided" in done.stdout
    assert len(found.contestants[2].scores) < 7 and len(found.looks) == 20


def test_more_seeds_go_on_and_fewer_are_refused(rnndrop: Command, tmp_path: Path) -> None:
    record(tmp_path, noisy([0, 0.001], 0.02, 12))
    assert "undecided" in rnndrop("decide", "dropout=none,naive", "--max-seeds", "8").stdout
    assert "undecided" in rnndrop("decide", "dropout=none,naive", "--max-seeds", "12").stdout
    assert len(decision(tmp_path).looks) == 12
    refused = rnndrop("decide", "dropout=none,naive", "--max-seeds", "8")
    assert refused.returncode == 2 and "--max-seeds 12" in refused.stderr


def test_given_seeds_are_taken_in_their_order(rnndrop: Command, tmp_path: Path) -> None:
    record(tmp_path, noisy([0, 0.1], 0.01))
    assert rnndrop("decide", "dropout=none,naive", "seed=7,3,5,1,2,9,8").returncode == 0
    found = decision(tmp_path)
    assert [look.seed for look in found.looks] == [7, 3, 5, 1, 2, 9, 8][: len(found.looks)]


def test_who_diverged_is_out_and_nothing_is_claimed(rnndrop: Command, tmp_path: Path) -> None:
    record(tmp_path, noisy([0, 0.1], 0.02, 2))
    write_run(tmp_path / "results/runs", [PLANS[0]], 2, 150.0)
    write_run(tmp_path / "results/runs", [PLANS[1]], 2, status="diverged", metrics={})
    done = rnndrop("decide", "dropout=none,naive")
    assert done.returncode == 1 and "undecided" in done.stdout
    assert "dropout=naive diverged at seed 2 and is out" in done.stdout
    assert [each.state for each in audit_decisions(tmp_path / "results/runs")] == ["sound"]


def test_a_failed_run_stops_it(rnndrop: Command, tmp_path: Path) -> None:
    record(tmp_path, noisy([0, 0.1], 0.02, 2))
    write_run(tmp_path / "results/runs", [PLANS[0]], 2, 150.0)
    write_run(tmp_path / "results/runs", [PLANS[1]], 2, status="failed", error="the roof fell in")
    done = rnndrop("decide", "dropout=none,naive")
    assert done.returncode == 1 and "dropout=naive seed=2: failed" in done.stderr and "--retry-failed" in done.stderr
    assert done.stdout.startswith("… not decided yet") and len(decision(tmp_path).looks) == 2


def test_a_dry_run_and_a_plan_write_nothing(rnndrop: Command, tmp_path: Path) -> None:
    assert "--pilot" in rnndrop("decide", "dropout=none,naive", "--plan-only").stderr
    done = rnndrop("decide", "dropout=none,naive", "--plan-only", "--pilot", "0.6%,4.9%")
    assert done.returncode == 0 and "true difference" in done.stdout and "time is not known" in done.stdout
    record(tmp_path, noisy([0, 0.1], 0.02, 2))
    plan = json.loads(rnndrop("decide", "dropout=none,naive", "--plan-only", "--json").stdout)
    assert plan["std"] > 0 and [row["train_seconds"] / row["seeds"] for row in plan["expected"]] == [2.0] * 4
    rows = json.loads(rnndrop("decide", "dropout=none,naive", "--dry-run", "--json", "--max-seeds", "5").stdout)
    assert [row["would"] for row in rows[::2]] == ["skip", "skip", "run", "run if undecided", "run if undecided"]
    assert not (tmp_path / "results/runs/decisions").exists()


@pytest.mark.parametrize(
    ("arguments", "needle"),
    [
        (["dropout=naive"], "two contestants"),
        (["dropout=none,none"], "one run"),
        (["dropout=locked,variational", "dropout.recurrent.p=0,0"], "one run"),
        (["dropout=none,naive", "data=synthetic,pydoc"], "differ in data."),
        (["dropout=none,naive", "--margin", "0%"], "--margin 0%"),
        (["dropout=none,naive", "--margin", "1"], "--margin 1"),
        (["dropout=none,naive", "--margin", "one"], "--margin one"),
        (["dropout=none,naive", "--alpha", "0"], "--alpha 0"),
        (["dropout=none,naive", "--alpha", "nan"], "--alpha nan"),
        (["dropout=none,naive", "seed=1,2,1"], "seed twice"),
        (["dropout=none,naive", "seed=1,2"], "need at least 3"),
        (["dropout=none,naive", "--max-seeds", "2"], "need at least 3"),
        (["dropout=none,nave"], "'naive'"),
        (["dropout=none,naive", "--plan-only", "--pilot", "1%"], "--pilot 1%"),
    ],
)
def test_a_wrong_request_is_one_message(rnndrop: Command, tmp_path: Path, arguments: list[str], needle: str) -> None:
    done = rnndrop("decide", *arguments)
    assert done.returncode == 2 and needle in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def finished(folder: Path, count: int) -> bool:
    return len(list(folder.rglob("record.json"))) >= count


def test_it_trains_until_it_is_decided_whoever_is_first_and_whoever_is_killed(
    rnndrop: Command, warm: Warm, tmp_path: Path
) -> None:
    """With one process, with three, and killed and resumed: one file, to the byte."""
    command = ["decide", *EPOCHS, "trainer.checkpoint_seconds=0"]
    folders = [tmp_path / name for name in ("one", "three", "killed")]
    for folder in folders:
        folder.mkdir()
    one = warm.call(command, folders[0])
    assert one.returncode == 0, one.stderr
    assert one.stdout.startswith("✓ trainer.epochs=1 is worse than trainer.epochs=4")
    three = warm.call([*command, "--jobs", "3"], folders[1])
    assert three.returncode == 0, three.stderr
    for stage in (1, 3):
        with warm.running(command, folders[2]):
            wait_until(partial(finished, folders[2], stage))
    assert warm.call(command, folders[2]).returncode == 0
    texts = [path.read_bytes() for folder in folders for path in (folder / "results/runs/decisions").iterdir()]
    assert len(texts) == 3 and len(set(texts)) == 1
    assert all(each.state == "sound" for folder in folders for each in audit_decisions(folder / "results/runs"))


def test_runs_that_diverge_and_fail(rnndrop: Command, tmp_path: Path) -> None:
    diverged = rnndrop("decide", *SMALL, "trainer.init=.05,1e4")
    assert diverged.returncode == 1 and "diverged at seed 0" in diverged.stdout, diverged.stderr
    failed = rnndrop("decide", *SMALL, "trainer.init=.05,1e20", before="tests.processes:break_training")
    assert failed.returncode == 1 and "the roof fell in" in failed.stderr and "--retry-failed" in failed.stderr


def test_an_interrupt_says_how_to_go_on(warm: Warm, tmp_path: Path) -> None:
    import signal

    with warm.running(["decide", *TINY, "trainer.epochs=3000,4000"], tmp_path) as process:
        wait_until(lambda: list(tmp_path.rglob("checkpoint-*")))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "The same command goes on" in err and "Traceback" not in err
