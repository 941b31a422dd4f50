from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from rnndrop.config.identity import canonical
from rnndrop.errors import RequestError
from rnndrop.report.comparable import caveats
from rnndrop.report.compare import compare
from rnndrop.report.frames import SkippedRecordWarning, column_types, load_runs
from rnndrop.report.settings import plan_text, varying
from tests.edited import as_json


def test_one_typed_row_a_run(hundred: Path) -> None:
    runs = load_runs(hundred)
    assert len(runs) == 100 and list(runs) == list(column_types())
    assert {name: str(kind) for name, kind in runs.dtypes.items()} == column_types()
    assert runs["run_id"].nunique() == 20 and set(runs["seed"]) == set(range(5))
    record = json.loads(next(hundred.rglob("record.json")).read_text())
    row = runs[(runs["run_id"] == record["run_id"]) & (runs["seed"] == record["seed"])].iloc[0]
    assert row["test_perplexity"] == record["metrics"]["test_perplexity"]
    assert row["settings"]["model.hidden"] == record["config"]["model"]["hidden"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "record: "),
        ('{"a": 1}', "schema: Field required"),
        ("[]", "record: "),
        ("\0\0", "record: "),
        ('{"schema": 0}', "schema: Input should be 1"),
    ],
)
def test_a_damaged_record_is_named_and_the_rest_loaded(few: Path, content: str, says: str) -> None:
    victim = sorted(few.rglob("record.json"))[3]
    victim.write_text(content)
    with pytest.warns(SkippedRecordWarning, match=says) as caught:
        runs = load_runs(few)
    assert len(runs) == 14 and str(victim) in str(caught[0].message)


@pytest.mark.parametrize(
    "edit",
    [
        {"schema": 0},
        {"config": {}},
        {"data": {}},
        {"metrics": {"test_perplexity": "low"}},
        {"environment": {"device": 3}, "seed": "x"},
    ],
)
def test_a_foreign_or_older_record_is_named_and_the_rest_loaded(few: Path, edit: dict[str, object]) -> None:
    victim = sorted(few.rglob("record.json"))[0]
    victim.write_text(as_json(json.loads(victim.read_text()) | edit))
    if "config" in edit:  # the settings of a run id are read once: make it one of its own
        victim.write_text(as_json(json.loads(victim.read_text()) | {"run_id": "foreign"}))
    with pytest.warns(SkippedRecordWarning, match=victim.parent.name):
        assert len(load_runs(few)) == 14


def test_no_record_at_all_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="rnndrop sweep"):
        load_runs(tmp_path)
    with pytest.raises(RequestError, match="rnndrop sweep"):
        load_runs(tmp_path / "absent")


def test_reading_and_comparing_imports_neither_torch_nor_scipy_stats(hundred: Path) -> None:
    code = (
        "import sys; from rnndrop.cli.report import Request, report;"
        f"report(Request([{str(hundred)!r}], baseline='none'));"
        "assert not {'torch', 'scipy.stats', 'matplotlib', 'hydra'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_rules_in_words_agree_with_the_plan(few: Path) -> None:
    from rnndrop.dropout.plan import plan

    for path in few.rglob("record.json"):
        config = json.loads(path.read_text())["config"]
        dropout = config["dropout"]
        assert plan_text(canonical(config)) == str(plan({key: rule for key, rule in dropout.items() if key != "name"}))


def test_warnings_are_not_silent(few: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(compare(load_runs(few))) == 3


def test_a_setting_that_came_later_is_not_a_difference(few: Path) -> None:
    """What records of before do not name has the value that they stood for."""
    without = min(few.rglob("record.json"))
    record = json.loads(without.read_text())
    del record["config"]["model"]["forget_bias"], record["config"]["trainer"]["precision"]
    old, new = canonical(record["config"]), canonical(json.loads(without.read_text())["config"])
    assert varying([old, new]) == []
    edited = json.loads(without.read_text())["config"]
    edited["trainer"]["precision"] = "bf16"
    assert varying([old, canonical(edited)]) == ["trainer.precision"]


def test_counts_that_read_alike_are_given_in_full(few: Path) -> None:
    runs = load_runs(few)
    runs["parameters"] = [4_653_200 + 5 * (index % 2) for index in range(len(runs))]
    assert "not alike: parameters 4653200, 4653205" in caveats(runs)


def test_what_another_setting_switches_off_is_no_column_of_its_own(few: Path) -> None:
    """Beside a run without a second pass the loss of a twin differs and nothing else of it."""
    tree = json.loads(min(few.rglob("record.json")).read_text())["config"]
    twins = [
        {**tree, "twin": {**tree["twin"], "loss": "mse", "weight": weight, "both": True}} for weight in (0.0, 0.15)
    ]
    plain, control, fraternal = map(canonical, [tree, *twins])
    assert varying([plain, fraternal]) == ["twin.loss"]
    assert varying([plain, control, fraternal]) == ["twin.loss", "twin.weight"]
