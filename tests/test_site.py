"""The docs as a site: it builds without a warning, every command of the tutorial runs, and links lead somewhere."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.tutorial import PAGE, commands
from tests.conftest import ROOT, SMALL, Command


@pytest.mark.slow
def test_every_command_of_the_tutorial(rnndrop: Command) -> None:
    for command in commands(PAGE.read_text("utf-8")):
        name, *arguments = shlex.split(command)[1:]
        settings = SMALL if name in ("run", "sweep", "decide") else []
        done = rnndrop(name, *arguments, *settings, timeout=300)
        assert done.returncode == 0, (command, done.stdout, done.stderr)


def test_the_example_of_a_model_runs() -> None:
    page = (ROOT / "docs" / "api.md").read_text("utf-8")
    (example,) = re.findall(r"## In your own model.*?```python\n(.*?)```", page, re.DOTALL)
    found: dict[str, Any] = {}
    exec(example, found)
    model = found["model"]
    assert found["logits"].shape == (35, 20, 1000)
    assert all(each.grad is not None for each in model.parameters())
    assert bool((model.lstm.weight_hh_l0.grad == 0).any())  # of the weights that were dropped
    model.eval()
    tokens = found["torch"].arange(6)[:, None]
    assert bool((model(tokens) == model(tokens)).all())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="mkdocs is absent: pip install 'rnndrop[docs]'")
    folder = tmp_path_factory.mktemp("site")
    built = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(built, cwd=ROOT, capture_output=True, text=True, env={"NO_MKDOCS_2_WARNING": "1", "PATH": ""})
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_site_builds_and_asks_nobody_for_anything(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        text = page.read_text("utf-8")
        loaded = re.findall(r'<(?:script|img|link)[^>]*(?:src|href)="(https?:[^"]+)"', text)
        assert not [each for each in loaded if "rnndrop/rnndrop" not in each], page


@pytest.mark.slow
def test_the_reference_is_that_of_the_code(site: Path) -> None:
    text = (site / "commands" / "index.html").read_text("utf-8")
    assert "rnndrop sweep" in text and "--retry-failed" in text
    text = (site / "api" / "index.html").read_text("utf-8")
    assert all(name in text for name in ("WeightDrop", "load_runs", "max_seeds"))
    assert "ours beside the published" in (site / "results" / "index.html").read_text("utf-8").lower()
