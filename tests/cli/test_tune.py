"""tune, as a user meets it: equal budgets, fresh seeds, kills, pruning, and who asks for a trial's run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from itertools import combinations
from math import inf
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from rnndrop.config.compose import compose
from rnndrop.runs.pruning import Rival, behind
from rnndrop.runs.runner import run_one
from rnndrop.stats import expected_best
from rnndrop.store.records import TRIAL, find_runs, label_of, read_record, run_folder
from rnndrop.sweeps.scheduler import plan_jobs
from rnndrop.sweeps.search_file import paths, read
from rnndrop.sweeps.tuning import search
from rnndrop.sweeps.workers import run_task
from tests.conftest import SMALL, TINY, Command
from tests.invented import write_run
from tests.processes import wait_until
from tests.warm import Warm

PLANS = "dropout=naive,variational,locked"


def labels(folder: Path) -> dict[str, Any]:
    """The label of every record below a folder, by run id and seed."""
    records = [(run, read_record(run)) for run in find_runs(folder)]
    return {f"{run.parent.name}/{run.name}": each.config["label"] for run, each in records if each}


def recorded(folder: Path, count: int) -> bool:
    return len(find_runs(folder)) >= count


def test_three_plans_over_two_workers_killed_and_resumed(warm: Warm, tmp_path: Path) -> None:
    """Equal budgets to the trial, disjoint seeds, no trial lost or counted twice; as without a kill."""
    often = ["trainer.epochs=6", "trainer.checkpoint_seconds=0"]
    command = ["tune", *SMALL, PLANS, *often, "--trials", "5", "--seeds", "2", "--jobs", "2", "--no-prune", "--json"]
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
    whole = warm.call(command, folders[0])
    assert whole.returncode == 0, whole.stderr
    for stage in (2, 8, 16):
        with warm.running(command, folders[1]):
            wait_until(partial(recorded, folders[1], stage))
    killed = warm.call(command, folders[1])
    assert killed.returncode == 0, killed.stderr
    assert killed.stdout == whole.stdout
    found = json.loads(whole.stdout)
    assert [len(plan["trials"]) for plan in found["plans"]] == [5, 5, 5]
    assert len({trial["run_id"] for plan in found["plans"] for trial in plan["trials"]}) == 15
    assert {json.dumps([trial["params"] for trial in plan["trials"]]) for plan in found["plans"]} == {
        json.dumps([trial["params"] for trial in found["plans"][0]["trials"]])
    }
    for plan in found["plans"]:
        assert all(trial["state"] == "finished" for trial in plan["trials"])
        valid = [trial["valid"] for trial in plan["trials"]]
        assert plan["chosen"] == valid.index(min(valid)) and plan["expected_best"][-1] == pytest.approx(min(valid))
        assert plan["expected_best"][0] == pytest.approx(fmean(valid))
        assert [run["seed"] for run in plan["fresh"]] == found["fresh_seeds"] == [1, 2]
    assert found["search_seed"] == 0
    for folder in folders:
        made = labels(folder)
        assert len(made) == 15 + 6 and sum(label == TRIAL for label in made.values()) == 15
        assert all((label == TRIAL) == name.endswith("seed-0") for name, label in made.items())
        (path,) = paths(folder / "results/runs")
        assert path.read_text() == whole.stdout and read(path)


def test_a_report_has_the_fresh_seeds_alone(rnndrop: Command, tmp_path: Path) -> None:
    done = rnndrop("tune", *SMALL, "dropout=none,naive", "--trials", "3", "--seeds", "2")
    assert done.returncode == 0, done.stderr
    assert "none: nothing to search; one trial stands for all 3" in done.stderr
    assert "Expected best valid perplexity" in done.stdout and "rnndrop sweep dropout=none" in done.stdout
    report = rnndrop("report", "--format", "json")
    rows = json.loads(report.stdout)
    assert [row["n"] for row in rows] == [2, 2] and "4 trials of searches are left out" in report.stderr
    trials = json.loads(rnndrop("report", "--format", "json", "--where", f"label={TRIAL}").stdout)
    assert sum(row["n"] for row in trials) == 4
    one = json.loads(rnndrop("tune", *SMALL, "dropout=none,naive", "--trials", "3", "--seeds", "2", "--json").stdout)
    none, naive = one["plans"]
    assert len(none["trials"]) == 1 and none["expected_best"] == [none["trials"][0]["valid"]] * 3
    assert len(naive["trials"]) == 3 and len(labels(tmp_path)) == 8
    fewer = rnndrop("tune", *SMALL, "dropout=none,naive", "--trials", "2")
    assert fewer.returncode == 2 and "--trials 3" in fewer.stderr
    more = json.loads(rnndrop("tune", *SMALL, "dropout=none,naive", "--trials", "4", "--seeds", "0", "--json").stdout)
    assert more["id"] == one["id"] and more["plans"][1]["trials"][:3] == naive["trials"]


def test_doctor_holds_a_search_to_its_records(rnndrop: Command, tmp_path: Path) -> None:
    assert rnndrop("tune", *SMALL, "dropout=naive", "--trials", "2", "--seeds", "1").returncode == 0
    output = tmp_path / "results/runs"
    (path,) = paths(output)
    write_run(output, ["dropout=awd"], 0, 5.0, status="interrupted", metrics={"pruned": 2})
    assert rnndrop("doctor", "results/runs").stdout == "5 sound · 1 of the sound pruned in a search\n"
    assert rnndrop("watch", "--once").stdout.splitlines()[0] == "4 runs: 3 finished · 1 pruned"
    whole = path.read_text()
    (plan,) = json.loads(whole)["plans"]
    other = next(trial for trial in plan["trials"] if trial["number"] != plan["chosen"])
    for old, new, said in [
        (str(other["valid"]), "1.5", f"{other['run_id']}/seed-0 had valid 1.5, and its record says {other['valid']}"),
        (
            f'"chosen": {plan["chosen"]}',
            '"chosen": null',
            f"trial None was chosen, and the scores give {plan['chosen']}",
        ),
        (str(plan["expected_best"][0]), "2.5", "its expected best does not follow from its trials"),
        ('"plans"', '"planz"', "not a whole search"),
    ]:
        path.write_text(whole.replace(old, new, 1))
        done = rnndrop("doctor", "results/runs")
        assert done.returncode == 1 and f"damaged: results/runs/searches/{path.name}: " in done.stdout, done
        assert said in done.stdout, done
    path.write_text(whole)
    (run_folder(output, other["run_id"], 0) / "record.json").unlink()
    assert f"the record of {other['run_id']}/seed-0 is gone" in rnndrop("doctor", "results/runs").stdout


def test_a_trial_that_is_asked_for_is_a_run_of_its_own(rnndrop: Command, tmp_path: Path) -> None:
    request = [*SMALL, "dropout.recurrent.kind=locked"]
    assert rnndrop("tune", *request, "dropout.recurrent.p=0.1,0.3", "--seeds", "0").returncode == 0
    assert list(labels(tmp_path).values()) == [TRIAL] * 2
    assert rnndrop("report").returncode == 2
    dry = json.loads(rnndrop("sweep", *request, "dropout.recurrent.p=0.1", "--dry-run", "--json").stdout)
    assert [row["would"] for row in dry] == ["take over"] and list(labels(tmp_path).values()) == [TRIAL] * 2
    assert rnndrop("sweep", *request, "dropout.recurrent.p=0.1", "label=mine").returncode == 0
    assert set(labels(tmp_path).values()) == {TRIAL, "mine"}
    assert rnndrop("run", *request, "dropout.recurrent.p=0.3").returncode == 0
    assert set(labels(tmp_path).values()) == {None, "mine"}
    assert {label_of(folder) for folder in find_runs(tmp_path)} == {"", "mine"}
    assert rnndrop("doctor", "results/runs").stdout == "3 sound\n"  # the two, and the search
    assert rnndrop("tune", *request, "dropout.recurrent.p=0.1,0.3", "--seeds", "0").returncode == 0
    assert set(labels(tmp_path).values()) == {None, "mine"}


def test_a_run_that_somebody_has_begun_stays_his(tmp_path: Path) -> None:
    request = [*TINY, "dropout=naive", "rate_factor=0.5,1", f"output={tmp_path}"]
    theirs = compose([*TINY, "dropout=naive", f"output={tmp_path}"])

    def stop(progress: Any) -> None:
        raise KeyboardInterrupt

    from rnndrop.store.progress import Watching

    with pytest.raises(KeyboardInterrupt):
        run_one(theirs, [], Watching(stop))
    found = {trial.params["rate_factor"]: trial.job for trial in search(request, 2, 0).trials}
    assert (found["1"].config.label, found["1"].rivals) == (None, ())
    assert found["0.5"].config.label == TRIAL and found["0.5"].rivals == (found["1"].folder,)


def test_who_is_behind() -> None:
    far = [Rival([90.0, 80.0, 70.0, 60.0, 50.0, 40.0])] * 4
    assert behind([95.0, 85.0, 71.0], 6, far)
    assert not behind([95.0, 85.0, 70.0], 6, far)
    assert not behind([95.0, 85.0], 6, far), "the first third"
    assert not behind([95.0, 85.0, 71.0], 6, far[1:]), "three others"
    assert not behind([95.0, 85.0, 80.0, 70.0, 60.0, 90.0], 6, far), "the last epoch"
    assert not behind([95.0, 85.0, 71.0], 6, [Rival([90.0, 80.0])] * 4), "they have not come so far"
    assert behind([95.0, 85.0, 81.0], 6, [Rival([90.0, 80.0], over=True)] * 4), "they have ended"
    assert not behind([95.0, 85.0, 99.0], 6, [Rival([], over=True)] * 4), "they have failed"


def test_a_pruned_trial_is_recorded_and_anyone_can_go_on_with_it(tmp_path: Path) -> None:
    request = [*TINY, "trainer.epochs=4", f"output={tmp_path}", "dropout=naive", "rate_factor=interval(0.1,1.9)"]
    for number in range(4):
        write_run(tmp_path, [*TINY, "dropout=none"], number, 1.0)
    asked = search(request, 2, 1)
    first, job = (trial.job for trial in asked.trials)
    rivals = tuple(find_runs(tmp_path))
    kind, record = run_task(job.config, job.overrides, job.folder, False, frozenset(), lambda progress: None, rivals)
    assert kind == "done" and record.status == "interrupted" and record.metrics["pruned"] == 2
    again = search(request, 2, 1)
    assert [trial.job.state for trial in again.trials] == ["new", "pruned"]
    assert again.studies[0].best is None and not again.measure()
    run_one(first.config, first.overrides)
    assert (best := search(request, 2, 1).studies[0].best) and best.number == 0
    (sweep,) = plan_jobs(job.overrides)
    assert sweep.state == "resumable"
    done = run_one(sweep.config, sweep.overrides)
    assert done.status == "finished" and done.metrics["epochs"] == 4 and done.config["label"] is None


def test_the_mean_of_the_best_of_n_is_over_every_subset() -> None:
    values = [5.0, 2.0, 9.0, 2.5, 7.0]
    for n, mean in enumerate(expected_best(values), 1):
        assert mean == pytest.approx(fmean(map(min, combinations(values, n))))
    assert expected_best([]) == [] and expected_best([3.0]) == [3.0]
    assert expected_best([3.0, inf, inf])[:2] == [inf, inf] and expected_best([3.0, inf, inf])[2] == 3.0


def test_failures_count_as_trials(rnndrop: Command) -> None:
    done = rnndrop("tune", *SMALL, "trainer.init=.05,1e4", "--seeds", "1", "--json")
    assert done.returncode == 0, done.stderr
    (plan,) = json.loads(done.stdout)["plans"]
    assert sorted(trial["state"] for trial in plan["trials"]) == ["diverged", "finished"]
    assert plan["expected_best"][0] is None and plan["expected_best"][1] > 0


@pytest.mark.parametrize(
    ("arguments", "needle"),
    [
        (["dropout=none"], "Nothing to search: dropout=none has no rates"),
        (["dropout=naive,naive"], "one plan"),
        (["dropout=naive,embedding", "dropout.recurrent.p=interval(0,0.7)"], "embedding has no rule at recurrent"),
        (["dropout=awd", "rate_factor=interval(0.5,3)"], "at most 1.9"),
        (["dropout=awd", "rate_factor=2"], "give a range"),
        (["dropout=awd", "rate_factor=a,b"], "factors are numbers"),
        (["dropout=awd", "rate_factor=-1,1"], "above 0"),
        (["dropout=naive", "rate_factor=.5,1", "dropout.input.p=.1,.2"], "give one of them"),
        (["dropout.recurrent.kind=locked", "dropout.recurrent.p=interval(0.6,0.2)"], "empty"),
        (["dropout=naive", "trainer.learning_rate=tag(log,interval(0,1))"], "begins at 0"),
        (["dropout=nave,none"], "'naive'"),
        (["dropout=naive", "seed=0,1"], "seed cannot be searched"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_one_message(rnndrop: Command, tmp_path: Path, arguments: list[str], needle: str) -> None:
    done = rnndrop("tune", *arguments)
    assert done.returncode == 2 and needle in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not list(tmp_path.iterdir())


def test_ranges_are_drawn_alike_for_every_plan() -> None:
    request = ["dropout=none,naive", "trainer.learning_rate=tag(log,interval(1e-4,1e-1))"]
    none, naive = search([*request, "dropout.recurrent.p=interval(0,0.7)"], 40, 0).studies
    assert set(none.ranges) < set(naive.ranges) and len(none.trials) == len(naive.trials) == 40

    def drawn(params: Mapping[str, Any]) -> float:
        return float(params["trainer.learning_rate"])

    assert [drawn(trial.params) for trial in none.trials] == [drawn(trial.params) for trial in naive.trials]
    assert 10 < sum(drawn(trial.params) < 10**-2.5 for trial in none.trials) < 30
    again = search(["dropout=naive", *request[1:], "dropout.recurrent.p=interval(0,0.7)"], 3, 0).studies[0]
    assert [trial.params for trial in again.trials] == [trial.params for trial in naive.trials[:3]]
