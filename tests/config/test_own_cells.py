"""A cell of the user's own by import path: found and hashed without an import, part of the run, refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import rnndrop
from rnndrop import own
from rnndrop.config.compose import compose
from rnndrop.config.identity import run_id
from rnndrop.config.schema import own_code
from rnndrop.errors import RequestError
from rnndrop.report.compare import compare
from rnndrop.report.frames import load_runs
from rnndrop.runs.reevaluate import evaluate
from tests.own_files import folder_with

SOURCE = (Path(__file__).parents[1] / "toys" / "cell.py").read_text("utf-8")
SHAPE = ["data.train_tokens=2000", "model.hidden=8", "model.layers=1", "trainer.epochs=1", "trainer.device=cpu"]
LINEAR = """
import torch
from rnndrop.config.cells import CellSpec
from rnndrop.recurrent.weights import Terms
Leak = CellSpec("leak", __name__, gates="h", linear=True)
def terms(gates, diagonals):
    return Terms(torch.full_like(gates[..., 0, :], 0.9), gates[..., 0, :])
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current folder with a file of a cell, and nothing left of it in this process."""
    yield from folder_with({"mine_mgu": SOURCE}, tmp_path, monkeypatch)


def asked(*more: str, cell: str = "mine_mgu:ROW") -> list[str]:
    return [f"model.cell={cell}", *SHAPE, "output=runs", *more]


def test_its_source_is_part_of_the_run_and_of_the_record(here: Path) -> None:
    record = rnndrop.run(asked("dropout=variational", "dropout.cell.kind=zoneout", "dropout.cell.p=0.1"))
    assert record.status == "finished" and record.model["paths"] == ["unrolled"] and record.model["gates"] == 2
    first = rnndrop.run(asked())
    assert first.model["cell"] == {"name": "mine_mgu:ROW", "sha256": own.source_hash("model.cell", "mine_mgu:ROW")}
    (here / "mine_mgu.py").write_text(SOURCE.replace("torch.sigmoid(", "0.5 * torch.sigmoid("), "utf-8")
    second = rnndrop.run(asked())
    assert second.run_id != first.run_id and second.metrics != first.metrics  # what is there now is what ran
    table = compare(load_runs("runs"))
    assert len(set(table[table["dropout"] == "none"]["model"])) == 2  # another source is another cell
    with pytest.raises(RequestError, match="source of mine_mgu:ROW here is not the one"):
        evaluate(here / "runs" / first.run_id / "seed-0", ["evaluation.mc.samples=2"])
    (here / "mine_mgu.py").write_text(SOURCE, "utf-8")
    assert rnndrop.run(asked()).run_id == first.run_id
    (here / "mine_mgu.py").unlink()
    assert len(load_runs("runs")) == 3  # reported all the same


def test_a_linear_one_has_the_scan(here: Path) -> None:
    (here / "mine_mgu.py").write_text(LINEAR, "utf-8")
    record = rnndrop.run(asked("dropout=zoneout", cell="mine_mgu:Leak"))
    assert record.model["paths"] == ["scan: input dense"]
    with pytest.raises(RequestError, match=r"dropout.recurrent has no meaning for model.cell=mine_mgu:Leak"):
        rnndrop.run(asked("dropout=variational", "seed=1", cell="mine_mgu:Leak"))
    assert len(list((here / "runs").iterdir())) == 1


def test_a_package_is_named_with_its_version(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "mine_package" / "sub").mkdir(parents=True)
    (here / "mine_package" / "__init__.py").write_text("")
    (here / "mine_package" / "sub" / "__init__.py").write_text("")
    (here / "mine_package" / "sub" / "mgu.py").write_text(SOURCE, "utf-8")
    facts = here / "mine_package-1.2.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: mine-package\nVersion: 1.2\n")
    (facts / "top_level.txt").write_text("mine_package\n")
    monkeypatch.syspath_prepend(here)
    record = rnndrop.run(asked(cell="mine_package.sub.mgu:ROW"))
    assert (record.model["cell"]["package"], record.model["cell"]["version"]) == ("mine-package", "1.2")


WRONG: dict[str, tuple[str, str]] = {
    "raises": ("raise ValueError('no such thing')", r"mine_wrong.py, line 1, raises ValueError: no such thing"),
    "leaves": ("\nimport sys; sys.exit(3)", r"mine_wrong.py, line 2, raises SystemExit: 3"),
    "is no Python": ("def f(:", r"line 1, raises SyntaxError"),
    "needs another": ("import nothing_of_the_kind", r"raises ModuleNotFoundError: .*nothing_of_the_kind"),
    "has no such name": (LINEAR, r"there is no ROW. Of CellSpec there: Leak"),
    "has another thing": ("ROW = 1", r"ROW is no CellSpec"),
    "has no equations": (
        "from rnndrop.config.cells import CellSpec\nROW = CellSpec('x', __name__, 'h')",
        r"mine_wrong has no function step",
    ),
    "has no such location": (
        SOURCE.replace('gates="fn"', 'gates="fn", without=("nowhere",)'),
        r"no location 'nowhere'",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_imported_is_refused_in_one_line(here: Path, what: str) -> None:
    source, said = WRONG[what]
    (here / "mine_wrong.py").write_text(source, "utf-8")
    with pytest.raises(RequestError, match=said) as refused:
        rnndrop.run(asked(cell="mine_wrong:ROW"))
    assert "\n" not in str(refused.value) and "model.cell=mine_wrong:ROW" in str(refused.value)
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("nowhere:ROW", "no module nowhere"),
        ("mine_mgu.sub:ROW", "no module mine_mgu.sub"),
        ("mine_mgu.py:ROW", "Leave out .py: model.cell=mine_mgu:ROW"),
        ("mine_mgu:", "PACKAGE.MODULE:NAME"),
        ("a/b:ROW", "PACKAGE.MODULE:NAME"),
        ("sys:path", "no module sys"),
    ],
)
def test_what_is_not_there_is_refused_when_it_is_asked_for(cell: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        compose([f"model.cell={cell}"])


def test_a_setting_without_meaning_for_it_is_refused(here: Path) -> None:
    (here / "mine_package.py").write_text(SOURCE.replace('gates="fn"', 'gates="un"'), "utf-8")
    with pytest.raises(RequestError, match=r"model.forget_bias has no meaning for model.cell=mine_package"):
        own_code(compose(["model.cell=mine_package:ROW", "model.forget_bias=1"]))


def test_its_packages_are_not_imported_to_find_it(here: Path) -> None:
    (here / "mine_package").mkdir()
    (here / "mine_package" / "__init__.py").write_text("raise ValueError('imported')")
    (here / "mine_package" / "mgu.py").write_text(SOURCE, "utf-8")
    assert own.source_of("model.cell", "mine_package.mgu:ROW") == here / "mine_package" / "mgu.py"
    config = compose(["model.cell=mine_package.mgu:ROW"])
    before = run_id(config)
    (here / "mine_package" / "mgu.py").write_text(SOURCE + "\n", "utf-8")
    assert run_id(config) != before and "mine_package" not in sys.modules


def test_a_file_of_this_name_hides_no_module_of_pythons(here: Path) -> None:
    (here / "json.py").write_text("raise ValueError('hidden')")
    assert own.source_of("model.cell", "json:X") == Path(json.__file__)


@pytest.mark.e2e
def test_workers_and_other_commands_find_it_in_the_current_folder(here: Path) -> None:
    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-P", "-c", "from rnndrop.cli.main import main; main()"]
        return subprocess.run([*program, *arguments], capture_output=True, text=True, cwd=here)

    shown = command("sweep", *asked("dropout=none,locked", "seed=0"), "--jobs", "2", "--json")
    assert shown.returncode == 0, shown.stderr
    assert {record["model"]["cell"]["name"] for record in json.loads(shown.stdout)} == {"mine_mgu:ROW"}
    (here / "mine_wrong.py").write_text("raise ValueError('no such thing')")
    refused = command("sweep", *asked("dropout=none,locked", "output=other", cell="mine_wrong:ROW"), "--jobs", "2")
    assert refused.returncode == 2 and refused.stderr.count("no such thing") == 1 and not (here / "other").exists()
    planned = command("sweep", *asked("dropout=none,locked"), "--dry-run")
    assert planned.returncode == 0 and planned.stdout.count("finished") == 2


@pytest.mark.e2e
def test_planning_with_it_imports_no_torch(here: Path) -> None:
    code = (
        "import sys\nfrom rnndrop.config.compose import compose\nfrom rnndrop.config.identity import run_id\n"
        "run_id(compose(['model.cell=mine_mgu:ROW']))\nassert not {'torch', 'mine_mgu'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], cwd=here).returncode == 0
