"""What a run is: copies and links count once, what does nothing changes nothing, an id means one configuration.

The numbers in the names are those of the faults that were found in the first version, 8.1 and 8.2 among them.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import create_model

import rnndrop
from rnndrop.config import identity, schema
from rnndrop.config.compose import compose
from rnndrop.config.identity import FORMER_DIGITS, former_id, run_id
from rnndrop.errors import RequestError
from rnndrop.report.compare import compare
from rnndrop.report.frames import SkippedRecordWarning, load_runs
from rnndrop.report.sheet import sheets
from rnndrop.store import files, records
from rnndrop.store.ownership import folder_of, unmeasured
from rnndrop.store.records import Record
from rnndrop.store.status import find, standings
from rnndrop.sweeps.ablation import rows
from rnndrop.sweeps.scheduler import plan_jobs
from tests.conftest import TINY, Command

Change = Callable[..., None]


def name(*overrides: str) -> str:
    return run_id(compose(overrides))


def tiny(output: Path, *overrides: str) -> Record:
    return rnndrop.run([*TINY, "trainer.epochs=1", f"output={output}", *overrides])


def one_of(folder: Path) -> Path:
    """The runs of one configuration."""
    return min(path for path in folder.iterdir() if path.is_dir())


def copies(runs: Path) -> None:
    """Every kind of copy and link that real folders hold."""
    own = one_of(runs)
    (runs / "latest").symlink_to(own.name)
    (runs / "loop").symlink_to(".")
    (runs / "up").symlink_to("..")
    (own / "again").symlink_to(own / "seed-0")
    (own / "seed-9").symlink_to("seed-0")
    shutil.copytree(own, runs / "old" / own.name)
    shutil.copytree(own, runs / f"{own.name}-copy")
    shutil.copytree(own / "seed-0", own / "seed-0-backup")
    shutil.copytree(own / "seed-0", runs / "host" / "b" / own.name / "seed-0")


@pytest.mark.filterwarnings("error")
def test_1_1_copies_and_links_count_once(few: Path, rnndrop: Command) -> None:
    before = load_runs(few)
    table, names = compare(before, baseline="none"), [run.name for run in standings(records.run_folders(few))]
    shown = rnndrop("show", one_of(few).name, "--output", str(few), "--json")
    copies(few)
    after = load_runs(few)
    assert after.drop(columns="folder").equals(before.drop(columns="folder"))
    assert compare(after, baseline="none").to_json() == table.to_json()
    assert [run.name for run in standings(records.run_folders(few))] == names
    again = rnndrop("show", one_of(few).name, "--output", str(few), "--json")
    assert again.returncode == 0 and again.stdout == shown.stdout
    watched = json.loads(rnndrop("watch", str(few), "--json").stdout)
    assert len(watched) == len(names)


def test_1_1_copies_that_differ_are_named(few: Path, change: Change) -> None:
    own = one_of(few)
    shutil.copytree(own, few / "rsynced" / own.name)
    change(few / "rsynced", lambda record: record["metrics"].update(test_perplexity=1.0))
    count = len(list(own.iterdir()))
    with pytest.warns(SkippedRecordWarning, match="not the same") as caught:
        runs = load_runs(few)
    assert len(caught) == count and (runs["test_perplexity"] > 1).all() and len(runs) == 15


def test_1_1_a_link_that_leads_out_is_said(few: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.move(one_of(few), tmp_path / "elsewhere")
    (few / "elsewhere").symlink_to(tmp_path / "elsewhere")
    assert len(load_runs(few)) == 10 and "elsewhere is a link to another folder" in caplog.text


def test_8_14_two_links_to_the_parent_end(few: Path) -> None:
    for link in ("a", "b", "c"):
        (few / link).symlink_to("..")
        (one_of(few) / link).symlink_to("../..")
    assert len(load_runs(few)) == 15


ZERO = ["dropout.recurrent.kind=locked", "dropout.recurrent.p=0"]


@pytest.mark.parametrize(
    "overrides",
    [
        ZERO,
        ["dropout.cell.kind=zoneout"],
        ["dropout.output.varies=[batch,feature]", "dropout.output.noise=gaussian"],
        ["dropout.name=mine"],
        ["dropout=rnndrop", "dropout.cell.p=0"],
        ["trainer.decay=1", "trainer.decay_after=3"],
        ["trainer.scaled_decay=true"],
        ["data.split=[.5,.25,.25]"],
        ["model.embedding=200"],
        ["evaluation.mc.samples=3"],
        ["evaluation=cache"],
        ["evaluation=dynamic"],
        ["evaluation=temperature"],
        ["evaluation.mc.power=0", "evaluation.mc.rate=.8", "evaluation.mc.temperature=.9"],
    ],
    ids=" ".join,
)
def test_1_2_what_does_nothing_is_no_part_of_a_run(overrides: list[str]) -> None:
    assert name(*overrides) == name()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["dropout=locked"], ["dropout.input.kind=locked", "dropout.input.p=.5", "dropout.hidden.kind=locked",
                              "dropout.hidden.p=.5", "dropout.output.kind=locked", "dropout.output.p=.5"]),
        (["dropout.output.kind=locked", "dropout.output.p=.5"], ["dropout.output.varies=[feature,batch]",
                                                                 "dropout.output.p=.5"]),
        (["dropout.output.kind=naive", "dropout.output.p=.5"], ["dropout.output.kind=naive", "dropout.output.p=.5",
                                                                "dropout.output.noise=bernoulli",
                                                                "dropout.output.fill=zero"]),
        (["model=rnn", "dropout.recurrent.kind=locked", "dropout.recurrent.p=.3"],
         ["model=rnn", "dropout.recurrent.kind=locked_gates", "dropout.recurrent.p=.3"]),
        (["task=sentiment", "trainer.window=7"], ["task=sentiment"]),
    ],
)  # fmt: skip
def test_1_2_one_rule_has_one_spelling(one: list[str], other: list[str]) -> None:
    assert name(*one) == name(*other) != name()


def test_1_2_the_rate_0_of_a_grid_is_none_and_not_trained_again(tmp_path: Path) -> None:
    none = tiny(tmp_path, "dropout=none")
    again = tiny(tmp_path, *ZERO)
    assert (again.metrics, again.timing) == (none.metrics, none.timing)
    grid = ["dropout.recurrent.kind=locked", "dropout.recurrent.p=0,.1"]
    states = [job.state for job in plan_jobs([*TINY, "trainer.epochs=1", f"output={tmp_path}", *grid])]
    assert states == ["finished", "new"]


def test_1_2_every_label_that_a_table_prints_is_a_baseline(tmp_path: Path) -> None:
    for overrides in (["dropout=none"], ["dropout.recurrent.kind=locked", "dropout.recurrent.p=.3"],
                      ["dropout=zaremba", "dropout.input.p=.25"], ["dropout=zaremba", "dropout.hidden.p=0"],
                      ["dropout.output.varies=[batch,time]", "dropout.output.p=.5"]):  # fmt: skip
        config = compose([*overrides, f"output={tmp_path}"])
        _write(config, overrides)
    runs = load_runs(tmp_path)
    for label in compare(runs)["dropout"]:
        against = compare(runs, baseline=label)
        assert (against["baseline"].notna()).sum() == len(against) - 1, label
    (sheet,) = sheets(compare(runs), runs, "test_perplexity")
    at = [column.header for column in sheet.columns].index("run")
    for row in sheet.rows:
        if row.run_id:
            assert compare(runs, baseline=row.cells[at])["baseline"].notna().any()


def _write(config: Any, overrides: list[str], **changes: Any) -> Path:
    """An invented record of a finished run."""
    tree = config.model_dump(mode="json")
    record = Record(records.SCHEMA, run_id(config), config.seed, "finished", overrides, tree,
                    {"name": tree["data"]["name"], "sha256": "abc"}, {"parameters": 1},
                    {"valid_perplexity": 2.0, "test_perplexity": 3.0, "best_epoch": 1, "epochs": 1})  # fmt: skip
    for key, value in changes.items():
        setattr(record, key, value)
    folder = records.run_folder(config.output, record.run_id, record.seed)
    records.prepare(folder)
    files.write_atomically(folder / records.RECORD, record.to_json())
    return folder


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("trainer.learning_rate=.003", "trainer.learning_rate=0.0030000000000000001"),
        ("trainer.learning_rate=3e-3", "trainer.learning_rate=.003000"),
        ("trainer.clip=5", "trainer.clip=5.0"),
        ("trainer.weight_decay=0", "trainer.weight_decay=-0.0"),
        ("trainer.init=.1", "trainer.init=0.10000000000000001"),
    ],
)
def test_1_3_a_number_has_one_spelling(one: str, other: str) -> None:
    assert name(one) == name(other)


def test_1_3_the_decimal_that_was_meant_is_what_is_trained() -> None:
    sloppy = compose(["dropout.recurrent.kind=locked", f"dropout.recurrent.p={0.1 + 0.2}"])
    assert sloppy.dropout.recurrent.p == 0.3
    assert run_id(sloppy) == name("dropout.recurrent.kind=locked", "dropout.recurrent.p=.3")
    assert name("dropout.recurrent.kind=locked", "dropout.recurrent.p=.3000001") != run_id(sloppy)


HIDDEN = ["dropout.hidden.kind=locked", "dropout.hidden.p=.3", "model.layers=1"]


def test_1_4_a_location_that_the_model_lacks(tmp_path: Path, rnndrop: Command) -> None:
    assert name(*HIDDEN) == name("model.layers=1")
    assert name(*HIDDEN[:2]) != name()
    assert name("dropout=variational", "dropout.hidden.p=0", "model.layers=1") == name(
        "dropout=variational", "model.layers=1"
    )
    for command in (["run"], ["sweep"]):
        said = rnndrop(*command, *TINY, *HIDDEN, "trainer.epochs=1")
        assert "dropout.hidden does nothing here" in said.stderr and "model.layers=1" in said.stderr
        assert "hidden locked" not in said.stderr


def test_1_4_no_row_for_what_cannot_act(tmp_path: Path) -> None:
    table = rows("variational", "drop", ["model.layers=1", f"output={tmp_path}"])
    assert "hidden" not in [row.location for row in table] and "recurrent" in [row.location for row in table]


@pytest.mark.parametrize("spelled", ["{home}/c.txt", "~/c.txt", "~/./c.txt", "c.txt"])
def test_1_5_own_text_counts_by_content_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelled: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    own = ["data=text", f"data.file='{spelled.format(home=tmp_path)}'"]
    (tmp_path / "c.txt").write_text("one two\n" * 50)
    first, plain = name(*own), name("data=text", f"data.file={tmp_path}/c.txt")
    (tmp_path / "c.txt").write_text("one three\n" * 50)
    assert first == plain and name(*own) != first


def test_1_6_what_is_only_measured_is_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tiny(tmp_path, "dropout=variational")
    monkeypatch.setattr("rnndrop.training.trainer.Training.run", lambda *_: pytest.fail("trained again"))
    asked = ["dropout=variational", "evaluation.mc.samples=3"]
    assert [job.state for job in plan_jobs([*TINY, "trainer.epochs=1", f"output={tmp_path}", *asked])] == ["unmeasured"]
    measured = tiny(tmp_path, *asked)
    assert measured.metrics.items() > record.metrics.items() and measured.metrics["mc"]["samples"] == 3
    assert tiny(tmp_path, "dropout=variational").metrics == measured.metrics
    cached = tiny(tmp_path, *asked, "evaluation.cache.size=20")
    assert cached.metrics["test_perplexity_cache"] and cached.metrics["mc"] == measured.metrics["mc"]
    assert records.read_record(folder_of(compose([*TINY, "trainer.epochs=1", f"output={tmp_path}", *asked]))) == cached


def test_1_6_a_measurement_of_before_there_were_other_means_counts(tmp_path: Path) -> None:
    sampled = ["evaluation.mc.samples=3"]
    config = compose([*sampled, f"output={tmp_path}"])
    before = {"samples": 3, "masks": "pass", "embedding": False, "estimator": "jackknife"}
    record = records.read_record(_write(config, sampled))
    assert record is not None and unmeasured(config, record) == ["mc"]
    record.metrics["mc"] = before
    assert unmeasured(config, record) == []
    assert unmeasured(compose([*sampled, "evaluation.mc.power=0"]), record) == ["mc"]
    record.metrics["mc"] = {**before, "power": 0.0}
    assert unmeasured(config, record) == ["mc"]
    assert unmeasured(compose([*sampled, "evaluation.mc.power=0"]), record) == []
    assert unmeasured(compose(["evaluation=temperature"]), record) == ["temperature"]


def test_1_6_a_record_names_what_is_not_usual(tmp_path: Path) -> None:
    asked = ["dropout=variational", "evaluation.mc.samples=2"]
    usual = tiny(tmp_path, *asked).metrics["mc"]
    assert usual == {"samples": 2, "masks": "pass", "embedding": False, "estimator": "jackknife"}
    other = tiny(tmp_path, *asked, "evaluation.mc.rate=.5", "evaluation.mc.power=.5").metrics["mc"]
    assert other == {**usual, "power": 0.5, "rate": 0.5}


def test_1_6_former_ids_are_those_of_before(tmp_path: Path) -> None:
    assert former_id(compose(["experiment=zaremba_small", "evaluation=temperature"])) == "87790256"


def test_1_6_a_measurement_afterwards_is_the_one_in_the_run(tmp_path: Path) -> None:
    asked = ["dropout=variational", "evaluation.mc.samples=3"]
    within = tiny(tmp_path / "within", *asked)
    tiny(tmp_path / "after", "dropout=variational")
    assert tiny(tmp_path / "after", *asked).metrics == within.metrics


def test_1_7_a_finished_run_keeps_its_label(tmp_path: Path, caplog: pytest.LogCaptureFixture, rnndrop: Command) -> None:
    caplog.set_level(logging.INFO, "rnndrop")
    tiny(tmp_path, "label=a")
    assert "already finished" not in caplog.text
    assert tiny(tmp_path, "label=b").config["label"] == "a"
    assert "already finished" in caplog.text and "label=b is not recorded" in caplog.text
    said = rnndrop("sweep", *TINY, "trainer.epochs=1", f"output={tmp_path}", "label=c")
    assert said.returncode == 0 and "label=c is not recorded" in said.stderr


@pytest.mark.parametrize("grid", ["label=a,b", "evaluation.mc.samples=0,3", "evaluation=cache,dynamic"])
def test_1_7_one_run_cannot_be_asked_for_in_two_ways(tmp_path: Path, grid: str) -> None:
    with pytest.raises(RequestError, match="takes several values here"):
        plan_jobs([*TINY, f"output={tmp_path}", grid])


def test_1_8_a_further_setting_or_location_changes_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ["dropout=variational", "trainer.ar=2"]
    before, former = compose(asked), former_id(compose(asked))
    old = run_id(before)
    trainer = create_model("Trainer", __base__=schema.TrainerSettings, spice=(float, 0.0))
    off = schema.RuleSettings(kind="none", p=0, varies=None, noise=None, fill=None)
    dropout = create_model("Dropout", __base__=schema.DropoutSettings, carry=(schema.RuleSettings, off))
    later = create_model("Later", __base__=schema.Config, trainer=(trainer, ...), dropout=(dropout, ...))
    monkeypatch.setattr(schema, "Config", later)
    identity._neutral.cache_clear()
    try:
        after = later.model_validate(before.model_dump())
        assert (run_id(after), former_id(after)) == (old, former)
        spiced = after.model_copy(update={"trainer": after.trainer.model_copy(update={"spice": 1.0})})
        assert run_id(spiced) != old
    finally:
        identity._neutral.cache_clear()


COLLIDING = ["data.train_tokens=3000", "model.hidden=12", "trainer.epochs=1", "trainer.device=cpu", "trainer.threads=1",
             "evaluation.batch_size=200"]  # fmt: skip


def test_8_1_two_learning_rates_that_shared_an_id(tmp_path: Path) -> None:
    one, other = (compose([*COLLIDING, f"trainer.learning_rate={rate}", f"output={tmp_path}"])
                  for rate in (0.040941, 0.053104))  # fmt: skip
    assert former_id(one) == former_id(other) and run_id(one) != run_id(other)
    assert len(plan_jobs([*COLLIDING, "trainer.learning_rate=0.040941,0.053104", f"output={tmp_path}"])) == 2


def test_8_1_a_record_of_before_is_found_by_its_own_configuration_alone(tmp_path: Path) -> None:
    one, other = (compose([*COLLIDING, f"trainer.learning_rate={rate}", f"output={tmp_path}"])
                  for rate in (0.040941, 0.053104))  # fmt: skip
    folder = _write(one, ["trainer.learning_rate=0.040941"], run_id=former_id(one))
    assert len(folder.parent.name) == FORMER_DIGITS
    assert folder_of(one) == folder != folder_of(other)
    jobs = plan_jobs([*COLLIDING, "trainer.learning_rate=0.040941,0.053104", f"output={tmp_path}"])
    assert [job.state for job in jobs] == ["finished", "new"]
    record = records.read_record(folder)
    assert record and rnndrop.run(jobs[0].overrides) == record
    (run,) = load_runs(tmp_path)["run_id"]
    assert run == run_id(one) and find(run[:8], tmp_path) == find(former_id(one), tmp_path) == folder


def test_8_1_the_id_and_the_configuration_of_a_record_are_both_compared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = compose([*COLLIDING, f"output={tmp_path}"])
    other = compose([*COLLIDING, f"output={tmp_path}", "trainer.learning_rate=.2"])
    folder = _write(other, [], run_id=run_id(config))  # as if they shared an id
    (job,) = plan_jobs([*COLLIDING, f"output={tmp_path}"])
    assert (job.folder, job.state) == (folder, "new")
    assert rnndrop.run([*COLLIDING, f"output={tmp_path}"]).metrics["test_perplexity"] != 3.0
    assert f"as this version of rnndrop reads them, are another run than {run_id(config)}" in caplog.text
    assert "what they mean has changed since it was written" in caplog.text
    assert "the run starts again" in caplog.text and (folder / "record.json.damaged").exists()


def test_8_1_a_record_of_before_with_the_old_definition_is_not_todays(tmp_path: Path) -> None:
    asked = ["dropout=rnndrop", f"output={tmp_path}"]
    config = compose(asked)
    _write(config, asked, run_id=former_id(config))
    assert plan_jobs(asked)[0].state == "new"
    zoneout = ["dropout=zoneout", f"output={tmp_path}"]  # there it was right
    _write(compose(zoneout), zoneout, run_id=former_id(compose(zoneout)))
    assert plan_jobs(zoneout)[0].state == "finished"
    _write(config, asked)
    with pytest.warns(SkippedRecordWarning, match="the meaning of their settings has changed"):
        runs = load_runs(tmp_path)
    assert sorted(runs["dropout"]) == ["rnndrop", "zoneout"]
    assert set(runs["run_id"]) == {run_id(compose(each)) for each in (asked, zoneout)}


def test_8_2_another_runs_checkpoint_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from rnndrop.store.progress import Progress

    def leave(progress: Progress) -> None:
        if progress.epoch == 2:
            raise KeyboardInterrupt

    asked = [*TINY, "trainer.epochs=2", "trainer.checkpoint_epochs=1", f"output={tmp_path / 'runs'}"]
    with pytest.raises(KeyboardInterrupt):
        rnndrop.run(asked, leave)
    source = folder_of(compose(asked))
    clean = [*TINY, "trainer.epochs=2", f"output={tmp_path / 'clean'}"]
    for more in (["seed=1"], ["trainer.learning_rate=.002"], ["dropout=variational"]):
        shutil.copytree(source, folder_of(compose([*asked, *more])))
        caplog.clear()
        record = rnndrop.run([*asked, *more])
        assert "belongs to another run" in caplog.text and record.timing["resumed_from_steps"] == []
        assert record.metrics == rnndrop.run([*clean, *more]).metrics
    assert rnndrop.run(asked).timing["resumed_from_steps"]


def test_8_1_ids_are_shown_as_short_as_tells_them_apart() -> None:
    ids = ["0123456789abcdef", "0123456789acffff", "f" * 16]
    assert identity.shown_digits(ids) == 12 and identity.shown_digits(ids[1:]) == 8
    assert identity.shown_digits([ids[0], ids[0]]) == 8


@pytest.mark.filterwarnings("error")
def test_1_1_a_copy_that_is_found_first_changes_no_order(few: Path) -> None:
    before = load_runs(few)
    own = one_of(few)
    shutil.copytree(own / "seed-4", few / "0" / "seed-9")  # comes before its original, and before the seeds 0 to 3
    assert load_runs(few).equals(before)
