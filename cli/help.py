"""`rnndrop help KEY`."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict

from rnndrop.config.settings import Group, Setting, explain, spelled

from .output import entry


def show(key: str, as_json: bool) -> None:
    """Print what a setting or a group of them means."""
    found = explain(key)
    if as_json:
        print(json.dumps(asdict(found), indent=1))
        return
    lines = _setting(found) if isinstance(found, Setting) else _group(found)
    print("\n".join([entry("", found.key), entry("", found.meaning), "", *lines]))


def _setting(setting: Setting) -> list[str]:
    rows = {
        "takes": setting.takes,
        "default": spelled(setting.default),
        "example": shlex.join(["rnndrop", "run", *setting.example.split()]),
    }
    return [entry(f"{name:<9}", text) for name, text in rows.items()]


def _group(group: Group) -> list[str]:
    rows = {each.key: each.meaning for each in group.settings} | group.groups
    width = max(map(len, rows), default=0) + 2
    lines = [entry(f"{name:<{width}}", about) for name, about in rows.items()]
    if group.options:
        names = " ".join(group.options)
        lines += [*([""] if lines else []), entry("options  ", f"{names} (see `rnndrop ls {group.key}`)")]
    return lines
