"""The site of the docs (`make docs`): pages that are written elsewhere, and links to what is no page.

A hook of mkdocs, which mkdocs.yml names. `results/README.md` and `CHANGELOG.md` become pages, the reference of the
commands is made from the commands; a link from a page to another file of the repository leads to where that is read.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer
from mkdocs.structure.files import File, Files
from rnndrop.cli.main import app
from typer.cli import get_docs_for_click

ROOT = Path(__file__).parent.parent
READ = "https://github.com/rnndrop/rnndrop/blob/main"
PAGES = {"results.md": "results/README.md", "changelog.md": "CHANGELOG.md"}
"""Pages by their place in the site, and where they lie in the repository."""
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def on_config(config: Any) -> Any:
    """Name the page of every kind in the navigation."""
    for section in config.nav:
        for part in section.get("Dropout", []) if isinstance(section, dict) else []:
            if isinstance(part, dict) and "Kinds" in part:
                part["Kinds"] = [f"kinds/{path.name}" for path in sorted((ROOT / "docs" / "kinds").glob("*.md"))]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that do not lie in docs/, and the figures of the results."""
    for place, path in PAGES.items():
        files.append(File.generated(config, place, content=(ROOT / path).read_text("utf-8")))
    for figure in sorted((ROOT / "results" / "figures").iterdir()):
        files.append(File.generated(config, f"figures/{figure.name}", abs_src_path=str(figure)))
    files.append(File.generated(config, "commands.md", content=commands()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let every link of a page lead somewhere."""
    place = page.file.src_uri
    here = Path(PAGES.get(place, f"docs/{place}")).parent

    def link(found: re.Match[str]) -> str:
        opening, target, rest = found.groups()
        return f"{opening}{moved(target, here, place)}{rest}" if "://" not in target else found[0]

    return _LINK.sub(link, markdown)


def moved(target: str, here: Path, place: str) -> str:
    """Where a link from a file in the folder `here` of the repository, which is `place` in the site, leads there."""
    path = Path(*_parts(here / target)).as_posix()
    inside = {path: place for place, path in PAGES.items()}.get(path)
    if path.startswith("docs/"):
        inside = path.removeprefix("docs/")
    elif path.startswith("results/figures/"):
        inside = path.removeprefix("results/")
    if inside is None:
        return f"{READ}/{path}"
    return "../" * place.count("/") + inside


def _parts(path: Path) -> list[str]:
    """The parts of a path without `..`."""
    parts: list[str] = []
    for part in path.parts:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return parts


def commands() -> str:
    """The help of every command, as a page, without the list of all that is cut off."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="rnndrop", title="Commands")
    return re.sub(
        r"\*\*Commands\*\*:\n.*?(?=^## )", "", text, count=1, flags=re.DOTALL | re.MULTILINE
    )  # it cuts them off
