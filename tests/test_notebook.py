"""The exploration notebook runs from top to bottom; its own asserts hold the numbers that it tells."""

from __future__ import annotations

import warnings
from pathlib import Path

import nbformat
import pytest

from tests.conftest import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_the_exploration_notebook_runs_and_is_committed_with_its_pictures(tmp_path: Path) -> None:
    notebook = nbformat.read(ROOT / "docs" / "explore_dropout.ipynb", as_version=4)
    pictures = [
        output for cell in notebook.cells for output in cell.get("outputs", []) if "image/png" in output.get("data", {})
    ]
    assert len(pictures) >= 3
    with warnings.catch_warnings():  # the kernel's own, on import
        warnings.simplefilter("ignore")
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError

        try:
            done = NotebookClient(
                notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
            ).execute()
        except CellExecutionError as error:
            pytest.fail(str(error))
    printed = "".join(output.get("text", "") for cell in done.cells for output in cell.get("outputs", []))
    assert "5.2857" in printed and "1.0000" in printed
