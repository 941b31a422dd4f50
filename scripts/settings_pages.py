"""Write what the settings mean, which stands in rnndrop/config/schema.py, where people look for it.

    python scripts/settings_pages.py            # docs/settings.md, and the comments beside the defaults in conf/
    python scripts/settings_pages.py --check    # write nothing; exit 1 and name the files that are stale

Of the files in conf/ only the comments beside settings are written: opening comments and values are kept.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from rnndrop.config.compose import GROUPS, choices
from rnndrop.config.schema import RuleSettings
from rnndrop.config.settings import Group, Setting, explain, keys, settings, spelled
from rnndrop.dropout.rule import LOCATIONS

ROOT = Path(__file__).parent.parent
WIDTH = 120
GENERATED = "<!-- Written by scripts/settings_pages.py from rnndrop/config/schema.py: edit that. -->\n"
DEFAULTS = {
    "config.yaml": "",
    "data/base.yaml": "data.",
    "model/base.yaml": "model.",
    "trainer/default.yaml": "trainer.",
    "twin/none.yaml": "twin.",
    "evaluation/default.yaml": "evaluation.",
}
"""Where the default of each setting stands, with the group that the file is of."""


def main(arguments: Sequence[str]) -> int:
    """Write the files, or check them."""
    stale = {path: text for path, text in pages().items() if not path.exists() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        print(f"{'stale: ' if '--check' in arguments else ''}{path.relative_to(ROOT)}")
        if "--check" not in arguments:
            path.write_text(text, "utf-8")
    return 1 if stale and "--check" in arguments else 0


def pages() -> dict[Path, str]:
    """Every file with its text."""
    files = {ROOT / "conf" / name: group for name, group in DEFAULTS.items()}
    return {
        **{path: commented(path.read_text("utf-8"), group) for path, group in files.items()},
        ROOT / "docs" / "settings.md": _page(),
    }


def commented(text: str, prefix: str) -> str:
    """A YAML file of settings with the meaning of each beside it; `prefix` is the group that they are in."""
    rows = list(_rows(text, prefix))
    column = max(len(code) for code, comment in rows if comment) + 3
    return "".join(f"{line}\n" for code, comment in rows for line in _line(code, comment, column))


def _rows(text: str, prefix: str) -> Iterator[tuple[str, str]]:
    """Each line without the comment beside it, and the one to be there; what is no setting stays as it is."""
    comments = {key: _comment(key) for key in keys()}
    group = comment = ""
    for line in text.splitlines():
        if comment and re.match(r" +#", line):
            continue  # the rest of what was beside the setting above
        code = re.sub(r" +#.*", "", line)
        match = re.match(r"( *)(\w+):(.*)", code)
        indent, name, value = match.groups() if match else ("", "", "")
        comment = comments.get(f"{prefix}{group if indent else ''}{name}", "")
        if match and not indent:
            group = "" if value else f"{name}."
        yield (code if comment else line), comment


def _comment(key: str) -> str:
    found = explain(key)
    few = f"[{' | '.join(found.choices)}] " if isinstance(found, Setting) and found.choices else ""
    return few + found.meaning


def _line(code: str, comment: str, column: int) -> list[str]:
    if not comment:
        return [code]
    first, *rest = textwrap.wrap(comment, WIDTH - column - 2, break_on_hyphens=False)
    return [f"{code:<{column}}# {first}", *(f"{'':<{column}}# {line}" for line in rest)]


def _page() -> str:
    names = dict.fromkeys([*GROUPS, *(key.partition(".")[0] for key in settings() if "." in key)])
    groups = [found for name in names if isinstance(found := explain(name), Group) and found.settings]
    alone = [each for key, each in settings().items() if "." not in key]
    tables = [_section(group) for group in groups if group.key != "dropout"]
    return f"""{GENERATED}
# Settings

`rnndrop run KEY=VALUE …` changes a setting, `rnndrop help KEY` says what it means, and `rnndrop run --cfg` prints all.
The defaults are those of a plain `rnndrop run`; a task, a corpus or a recipe may set others.

{_table(alone)}

{"".join(tables)}{_dropout()}"""


def _section(group: Group) -> str:
    options = f" Options: {' '.join(f'`{group.key}={name}`' for name in group.options)}." if group.options else ""
    return f"## `{group.key}`\n\n{group.meaning}{options}\n\n{_table(group.settings)}\n\n"


def _table(rows: Sequence[Setting]) -> str:
    lines = [
        "| setting | takes | default | meaning |",
        "|---|---|---|---|",
        *(
            f"| `{each.key}` | {each.takes} | `{spelled(each.default)}` | {each.meaning.replace('<unk>', '`<unk>`')} |"
            for each in rows
        ),
    ]
    return "\n".join(lines)


def _dropout() -> str:
    """The rules: the parts of one, and what each location takes."""
    meanings = {each.key.rpartition(".")[2]: each.meaning for key, each in settings().items() if key.count(".") == 2
                and key.startswith("dropout.")}  # fmt: skip
    rules = "\n".join(f"| `dropout.LOCATION.{part}` | {meanings[part]} |" for part in RuleSettings.model_fields)
    places = "\n".join(
        f"| `dropout.{place}` | {explain(f'dropout.{place}').meaning}"
        f" | {' '.join(f'`{kind}`' for kind in settings()[f'dropout.{place}.kind'].choices)} |"
        for place in LOCATIONS
    )
    return f"""## `dropout`

A plan is the rules of all locations. By default every kind is `none`, every p 0, and the rest null;
[the space of dropouts](space.md) says what each kind does.
Options: {" ".join(f"`dropout={name}`" for name in choices("dropout"))}.

| setting | meaning |
|---|---|
| `dropout.name` | {settings()["dropout.name"].meaning} |
{rules}

| location | | kinds |
|---|---|---|
{places}
"""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
