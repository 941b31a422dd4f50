"""The docs are those of the code: generated pages, the notebook without anyone's paths, no dead links."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from rnndrop.config.compose import choices, compose
from rnndrop.config.identity import asked, run_id
from rnndrop.config.settings import settings
from rnndrop.dropout.literature import ABOUT, PROJECTS
from rnndrop.dropout.masks import MemoryMask, Sizes, WeightNoise, draw_masks
from rnndrop.dropout.plan import plan
from rnndrop.dropout.rule import KINDS, LOCATIONS, kinds_at, rule
from scripts import settings_pages
from scripts.kind_pages import CATALOGUE, HERE, Entry, lengths, main, pages
from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "explore_dropout.ipynb"
PARTS = (
    "Equation",
    "Mask",
    "When it is drawn",
    "Evaluation",
    "Published as",
    "Implementations and caveats",
    "Aliases",
    "Named plans that use it",
)


def test_the_committed_pages_are_what_the_script_writes() -> None:
    assert main(["--check"]) == 0, "run: python scripts/kind_pages.py"
    assert {path.stem for path in (ROOT / "docs" / "kinds").iterdir()} == set(KINDS) == set(ABOUT)


def test_the_committed_settings_are_what_the_script_writes() -> None:
    assert settings_pages.main(["--check"]) == 0, "run: python scripts/settings_pages.py"


def test_comments_beside_settings_are_written_and_all_else_is_kept() -> None:
    text = (
        "# Opening.\ndefaults: [a]   # ours\nclip: 1.0  # old\n           # and the rest of it\nnot_ours: 2   # kept\n"
    )
    opening, ours, clip, kept = settings_pages.commented(text, "trainer.").splitlines()
    assert (opening, ours, kept) == ("# Opening.", "defaults: [a]   # ours", "not_ours: 2   # kept")
    assert clip == f"clip: 1.0   # {settings()['trainer.clip'].meaning}"


def test_every_setting_is_on_the_page() -> None:
    text = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert all(f"| `{key}` |" in text for key in settings() if key.count(".") < 2 or not key.startswith("dropout."))
    assert all(f"| `dropout.{place}` |" in text for place in LOCATIONS)


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_of_a_kind_has_every_part(kind: str) -> None:
    text = pages()[ROOT / "docs" / "kinds" / f"{kind}.md"]
    parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)[1:]
    assert tuple(parts[::2]) == PARTS
    assert all(part.strip() for part in parts[1::2])
    shapes = dict(zip(parts[::2], parts[1::2], strict=True))["Mask"]
    assert kind == "none" or all((f"| `{place}` |" in shapes) == (kind in kinds_at(place)) for place in LOCATIONS)


@pytest.mark.parametrize(
    "location", [location for location in LOCATIONS if location != "token"]
)  # no mask of the model
def test_the_shapes_of_the_pages_are_those_of_the_masks(location: str) -> None:
    sizes = Sizes(vocabulary=13, embedding=5, layers=((5, 7), (7, 7)), gates=4)
    symbols = {"T": 3, "B": 2, "G": 4, "E": 5, "H": 7, "I": 5, "L": 2, "V": 13}
    first = {f"{name}_{depth}": torch.ones(4, 7, 7) for name in ("weight_ih", "weight_hh") for depth in (0, 1)}
    first |= {"weight_ih_0": torch.ones(4, 7, 5), "weight_decoder_0": torch.ones(13, 7)}
    for kind in [kind for kind in kinds_at(location) if kind != "none"]:
        masks = draw_masks(plan({location: {"kind": kind, "p": 0.5}}), sizes, 3, 2, torch.Generator(), held=first)
        layer = masks.layers[1 if location == "hidden" else 0]
        name = "input" if location == "hidden" else location
        mask: Any = getattr(layer if hasattr(layer, name) else masks, name)
        written = rule(location, kind, 0.5).shape(lengths(location))
        values = mask.values if isinstance(mask, MemoryMask) else mask.scale if isinstance(mask, WeightNoise) else mask
        assert list(values.shape) == [symbols.get(length, length) for length in written]


def test_every_project_is_cited_and_every_citation_is_linked() -> None:
    text = "".join(pages().values())
    assert all(f"[{project}#" in text for project in PROJECTS)
    assert not re.search(r"(?<![\w\[/-])[A-Za-z][\w-]*#\d", text)
    assert not re.search(r"(?<!\[)arXiv:", text)


@pytest.mark.parametrize(
    "page", [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda path: path.stem
)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("entry", HERE, ids=lambda entry: str(entry.number))
def test_what_can_be_asked_for_composes(entry: Entry) -> None:
    words = entry.asked.split()
    if words[0] == "rnndrop":
        assert words[1:3] == ["eval", "--ensemble"]
        return
    config, plain = compose(words), compose([])
    assert run_id(config) != run_id(plain) or asked(config) != asked(plain)
    for name in re.findall(r"\bdropout=\w+|\btwin=\w+|\bevaluation=\w+", entry.remarks):
        compose([name])


def test_the_catalogue_is_whole_and_says_why_what_is_not_there_is_not() -> None:
    assert [entry.number for entry in CATALOGUE] == list(range(1, 48)) and len(HERE) >= 30
    assert all(entry.asked or len(entry.remarks) > 20 for entry in CATALOGUE)
    named = {word for entry in CATALOGUE for word in re.findall(r"dropout=(\w+)", f"{entry.asked} {entry.remarks}")}
    ours = {"none", "naive", "locked", "shared", "melis", "variational_weight"}  # no published row of their own
    assert set(choices("dropout")) - named == ours
    count = f"{len(CATALOGUE)} regularisers of recurrent networks, of which {len(HERE)} can be asked"
    assert count in re.sub(r"\s+", " ", (ROOT / "docs" / "space.md").read_text("utf-8"))


def test_the_readme_leads_to_the_space() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert "(docs/space.md)" in text and "(docs/images/masks.png)" in text
    assert (ROOT / "docs" / "images" / "masks.png").stat().st_size < 150_000


def test_the_notebook_is_committed_with_its_outputs_and_without_anyone_s_paths() -> None:
    text = NOTEBOOK.read_text("utf-8")
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert sum("image/png" in output.get("data", {}) for cell in cells for output in cell["outputs"]) >= 4
    assert not any(
        output["output_type"] == "error" or output.get("name") == "stderr"
        for cell in cells
        for output in cell["outputs"]
    )
    assert len(text) < 700_000
    assert not re.search(r"/(work|home|Users|tmp)/", text)


def test_the_readme_counts_what_was_published_as_the_catalogue_does() -> None:
    text = re.sub(r"\s+", " ", (ROOT / "README.md").read_text("utf-8"))
    assert f"{len(HERE)} of the {len(CATALOGUE)} regularisers" in text
    assert f"lists {len(CATALOGUE)} regularisers, how each of {len(HERE)} is asked for" in text
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert f"{len(HERE)} of {len(CATALOGUE)} published regularisers" in changes


def test_there_are_pictures_of_the_terminal_in_both_widths_and_they_are_small() -> None:
    found = list((ROOT / "docs" / "images" / "terminal").iterdir())
    names = ("help", "run", "sweep", "report", "decide", "watch")
    assert {path.name for path in found} == {f"{name}-{columns}.svg" for name in names for columns in (80, 120)}
    assert sum(path.stat().st_size for path in found) < 1_000_000
    for path in found:
        text = path.read_text("utf-8")
        assert "\N{REPLACEMENT CHARACTER}" not in text and "Traceback" not in text and "/home/" not in text
