"""show, watch, doctor, ablate and completion, as a user meets them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from rnndrop.cli.progress import sparkline

from rnndrop.config.compose import compose
from tests.conftest import TINY, Command
from tests.processes import RNNDROP, wait_until
from tests.warm import Warm

QUICK = [*TINY, "trainer.epochs=2", "evaluation.batch_size=200"]


def test_show_gives_the_command_that_gives_the_run_again(rnndrop: Command, tmp_path: Path) -> None:
    first = rnndrop("run", *QUICK, "dropout=naive", "seed=3")
    assert first.returncode == 0
    name = next(tmp_path.rglob("record.json")).parent.parent.name
    shown = rnndrop("show", name[:5])
    assert shown.returncode == 0, shown.stderr
    for needle in (
        "finished",
        "dropout.name: naive",
        "test_perplexity",
        "device_name",
        "▁",
        f"results/runs/{name}/seed-3",
    ):
        assert needle in shown.stdout
    tree = json.loads(rnndrop("show", f"{name}/seed-3", "--json").stdout)
    assert tree["record"]["seed"] == 3 and len(tree["history"]) == 2 and tree["changed"]["model.hidden"] == 12
    command = tree["command"].split()
    assert command in ([*shown.stdout.splitlines()[-1].split()],)
    again = rnndrop(*command[1:], "output=again")
    assert again.stdout.split("   ")[0] == first.stdout.split("   ")[0]


def test_show_of_nothing_names_what_there_is(rnndrop: Command) -> None:
    done = rnndrop("show", "abc")
    assert done.returncode == 2 and "abc" in done.stderr and "Traceback" not in done.stderr


def test_watch_sees_running_killed_and_finished_runs(rnndrop: Command, warm: Warm, tmp_path: Path) -> None:
    assert rnndrop("run", *QUICK).returncode == 0
    with warm.running(["run", *TINY, "trainer.epochs=5000", "dropout=naive"], tmp_path) as process:

        def watched() -> list[dict[str, Any]]:
            rows = json.loads(rnndrop("watch", "--json").stdout)
            return [
                row for row in rows if row["state"] == "running" and row["now"]["epoch"] and row["valid_perplexities"]
            ]

        wait_until(watched)
        (row,) = watched()
        assert row["now"]["pid"] == process.pid and row["now"]["epochs"] == 5000
        table = rnndrop("watch")
        assert "running" in table.stdout and "1 finished" in table.stdout
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    rows = json.loads(rnndrop("watch", "results/runs", "--json").stdout)
    assert sorted(row["state"] for row in rows) == ["finished", "resumable"]


def test_watch_of_nothing(rnndrop: Command) -> None:
    done = rnndrop("watch", "nowhere")
    assert done.returncode == 2 and "nowhere" in done.stderr


def test_doctor(rnndrop: Command, tmp_path: Path) -> None:
    well = rnndrop("doctor", *QUICK)
    assert well.returncode == 0, well.stdout
    assert well.stdout.count("✓") == 7 and "tokens/s" in well.stdout and "sha256" in well.stdout
    ill = rnndrop("doctor", "data=text", "data.file=missing.txt", "--json")
    findings = {row["name"]: row for row in json.loads(ill.stdout)}
    assert ill.returncode == 1
    assert not findings["data"]["sound"] and "missing.txt" in findings["data"]["detail"] and findings["output"]["sound"]
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.parametrize("mode", ["drop", "add"])
def test_ablate_pairs_seeds_and_orders_by_effect(rnndrop: Command, tmp_path: Path, mode: str) -> None:
    arguments = ["locked", "--mode", mode, *QUICK, "trainer.epochs=1", "seed=range(2)", "--jobs", "2"]
    done = rnndrop("ablate", *arguments)
    assert done.returncode == 0, done.stderr
    rows = json.loads(rnndrop("ablate", *arguments, "--json").stdout)
    places = {"input", "hidden", "output"}
    words = {"drop": ("full plan", "without "), "add": ("no dropout", "only ")}[mode]
    assert rows[0]["variant"] == words[0] and {row["variant"] for row in rows[1:]} == {
        words[1] + each for each in places
    }
    assert all(row["n"] == 2 and row["low"] <= row["percent"] <= row["high"] for row in rows[1:])
    differences = [row["difference"] for row in rows[1:]]
    assert differences == sorted(differences, reverse=mode == "drop")
    assert all(row["variant"] in done.stdout for row in rows)
    assert len(list(tmp_path.rglob("record.json"))) == 4 * 2


def test_ablate_of_what_drops_nothing_or_is_not_there(rnndrop: Command) -> None:
    for plan, needle in (("none", "drops nothing"), ("variatonal", "'variational'")):
        done = rnndrop("ablate", plan)
        assert done.returncode == 2 and needle in done.stderr and "Traceback" not in done.stderr
    assert "'drop'" in rnndrop("ablate", "locked", "--mode", "drob").stderr


def complete(tmp_path: Path, words: str, place: int, shell: str = "bash") -> list[str]:
    environment = {
        **os.environ,
        "_RNNDROP_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": str(place),
        "_TYPER_COMPLETE_ARGS": words,
    }
    done = subprocess.run([RNNDROP], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    return done.stdout.split()


@pytest.mark.e2e
def test_bash_completes_groups_options_keys_and_runs(tmp_path: Path) -> None:
    assert "dropout=" in complete(tmp_path, "rnndrop run dropo", 2)
    assert "dropout.recurrent.kind=" in complete(tmp_path, "rnndrop sweep dropout.rec", 2)
    assert complete(tmp_path, "rnndrop run dropout = varia", 4) == [
        "variational",
        "variational_noising",
        "variational_untied",
        "variational_weight",
    ]
    assert "gru" in complete(tmp_path, "rnndrop run model =", 3)
    assert complete(tmp_path, "rnndrop run trainer.optimizer = ad", 4) == ["adam", "adamw"]
    assert complete(tmp_path, "rnndrop run dropout.recurrent.kind = locked_", 4) == ["locked_gates"]
    assert "show" in complete(tmp_path, "rnndrop sh", 1)
    (tmp_path / "results/runs/0a1b2c3d/seed-4").mkdir(parents=True)
    assert complete(tmp_path, "rnndrop show 0a", 2) == ["0a1b2c3d/seed-4"]
    assert "variational" in complete(tmp_path, "rnndrop ablate vari", 2)
    assert complete(tmp_path, "rnndrop sweep hydra/l", 2) == ["hydra/launcher="]
    assert complete(tmp_path, "rnndrop run tracker = [t", 4) == ["[tensorboard]"]
    assert "dropout.name=" not in complete(tmp_path, "rnndrop run dropout.", 2)


def test_bash_completes_the_values_of_options(tmp_path: Path) -> None:
    assert complete(tmp_path, "rnndrop ls mo", 2) == ["model"]
    assert complete(tmp_path, "rnndrop plot c", 2) == ["curves", "calibration"]
    assert complete(tmp_path, "rnndrop report --format j", 3) == ["json"]
    assert complete(tmp_path, "rnndrop plot rates --location re", 4) == ["recurrent"]
    assert "variational" in complete(tmp_path, "rnndrop report --baseline vari", 3)
    assert complete(tmp_path, "rnndrop report --metric valid_r", 3) == ["valid_rmse", "valid_rmse_mc"]


def test_sparkline() -> None:
    assert sparkline([3.0, 2.0, 1.0]) == "█▅▁" or sparkline([3.0, 2.0, 1.0])[0] == "█"
    assert sparkline([]) == "" and sparkline([5.0, 5.0]) == "▁▁" and sparkline([float("inf")]) == ""


def test_ablate_takes_all_rules_of_a_location_away(rnndrop: Command) -> None:
    found = json.loads(rnndrop("ablate", "token_and_locked", "seed=0", "--dry-run", "--json").stdout)
    without = next(row["run"] for row in found if row["run"].startswith("without input"))
    plan = compose([each for each in without.partition(", ")[2].split() if not each.startswith("seed")]).plan
    assert str(plan) == "hidden locked .3 · output locked .3"


def test_ablate_takes_a_rule_away_that_stands_in_also_alone(rnndrop: Command) -> None:
    own = ["dropout.input.also=[{kind:locked,p:0.3}]", "dropout.output.kind=locked", "dropout.output.p=0.2"]
    found = json.loads(rnndrop("ablate", "none", *own, "seed=0", "--dry-run", "--json").stdout)
    folders = {row["run"].partition(",")[0]: row["folder"] for row in found}
    assert set(folders) == {"full plan", "without input", "without output"} and len(set(folders.values())) == 3
