"""Code and data of the user's own that changes while it is at work, or that a run id did not name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import rnndrop
from rnndrop import own
from rnndrop.config.compose import compose
from rnndrop.config.identity import run_id
from rnndrop.errors import RequestError
from rnndrop.runs import execution, loading
from rnndrop.store import records
from rnndrop.sweeps.scheduler import plan_jobs, run_jobs
from rnndrop.sweeps.workers import Workers
from tests.conftest import TINY
from tests.models.test_own import PLAIN
from tests.own_files import folder_with

CORPUS = """
from pathlib import Path
from rnndrop.data.assemble import assemble

def text(settings):
    words = Path(settings.root or settings.file, "words.txt").read_text().split()
    return assemble("words", settings.level, [words * n for n in (40, 10, 10)])
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with files of one's own, and nothing left of it in this process."""
    yield from folder_with({"mine_plain": PLAIN, "mine_text": CORPUS}, tmp_path, monkeypatch)


def edit(here: Path) -> None:
    """Another source of the same model."""
    (here / "mine_plain.py").write_text(f"# edited\n{PLAIN}", "utf-8")


def test_a_file_that_is_edited_while_the_corpus_is_read_is_executed_as_it_was(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [*TINY, "model.module=mine_plain:Plain"]
    load, before = loading.load_corpus, own.source_hash("model.module", "mine_plain:Plain")

    def slow(settings: object) -> object:
        edit(here)
        return load(settings)  # type: ignore[arg-type]

    monkeypatch.setattr(execution, "load_corpus", slow)
    record = rnndrop.run(asked)
    assert record.model["module"]["sha256"] == before != own.source_hash("model.module", "mine_plain:Plain")
    assert record.run_id != run_id(compose(asked))
    again = rnndrop.run(asked)  # the edited one is another run
    assert again.run_id == run_id(compose(asked)) and again.model["module"]["sha256"] != before


def test_a_file_of_data_that_is_edited_while_it_is_read_is_refused(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "words.txt").write_text("a b c d e f g h " * 900, "utf-8")
    load = loading.load_corpus

    def slow(settings: object) -> object:
        (here / "words.txt").write_text("a b c d e f g h i " * 900, "utf-8")
        return load(settings)  # type: ignore[arg-type]

    monkeypatch.setattr(execution, "load_corpus", slow)
    with pytest.raises(RequestError, match="has changed since the command began"):
        rnndrop.run([*TINY, "data=text", "data.file=words.txt"])
    assert not list(here.rglob(records.RECORD))


def test_a_sweep_does_not_go_on_with_another_source(here: Path) -> None:
    jobs = plan_jobs([*TINY, "model.module=mine_plain:Plain", "seed=range(3)"])
    with pytest.raises(RequestError, match="has changed since the command began"):
        for event in run_jobs(jobs, Workers(1), frozenset({"finished"})):
            if event.kind == "done":
                edit(here)
    found = [folder.relative_to(here) for folder in records.find_runs(here / "results/runs")]
    assert found and {folder.parent for folder in found} == {jobs[0].folder.parent}
    states = [record.status for folder in found if (record := records.read_record(folder))]
    assert set(states) <= {"finished", "interrupted"} and "finished" in states


def test_where_a_corpus_of_ones_own_lies_is_part_of_the_run(here: Path) -> None:
    for name, text in (("one", "a b c"), ("two", "a b d")):
        (here / name).mkdir()
        (here / name / "words.txt").write_text(text, "utf-8")
    mine = ["data=mine_text:text", "data.root=one"]
    assert run_id(compose(mine)) != run_id(compose([mine[0], "data.root=two"]))
    assert run_id(compose(["data=ptb", "data.root=one"])) == run_id(compose(["data=ptb", "data.root=two"]))
    file = [mine[0], "data.file=one"]
    before = run_id(compose(file))
    (here / "one" / "words.txt").write_text("a b e", "utf-8")
    assert run_id(compose(file)) != before


def test_a_task_of_ones_own_may_draw_whatever_the_dropout(here: Path) -> None:
    """Shuffling, say: its guide says that all that is random comes from the generator of the masks."""
    (here / "mine_task.py").write_text(
        "from rnndrop.tasks.language_model import LanguageModelling\nclass Words(LanguageModelling):\n    pass\n",
        "utf-8",
    )
    asked = ["task=mine_task:Words", "dropout=none"]
    assert len({run_id(compose([*asked, *more])) for more in ([], ["seeds.masks=0"], ["seeds.masks=1"])}) == 3
    ours = {run_id(compose(["dropout=none", *more])) for more in ([], ["seeds.masks=0"], ["seeds.masks=1"])}
    assert len(ours) == 1
