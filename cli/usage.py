"""`--help`: what a command does and takes, and three examples, as wide as the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from rnndrop.display.terminal import coloured
from rnndrop.display.terminal import width as terminal_width

from . import output
from .examples import EXAMPLES

WIDEST = 100  # columns: longer lines are harder to read
FIRST = 26  # columns that a name may take before its text


def show(command: Any, context: Any) -> None:
    """Print the help of a command."""
    name = context.info_name if context.parent else ""
    width = min(terminal_width(), WIDEST)
    parameters = [each for each in command.get_params(context) if not getattr(each, "hidden", False)]
    arguments = [each for each in parameters if each.param_type_name == "argument"]
    commands = {name: each for name, each in getattr(command, "commands", {}).items() if not each.hidden}
    words = ["rnndrop", name, "COMMAND" if commands else "", *(_placeholder(each) for each in arguments), "[OPTIONS]"]
    parts = [
        *("\n".join(textwrap.wrap(each, width)) for each in _paragraphs(command)),
        f"{_heading('Usage:')} {' '.join(filter(None, words))}",
        _list("Arguments:", {_placeholder(each): _about(each) for each in arguments}, width),
        *_panels(commands, width),
        _list("Options:", {_names(each): _about(each) for each in parameters if each not in arguments}, width),
        "\n".join([_heading("Examples:"), *(f"  {example}" for example in EXAMPLES[name])]),
    ]
    output.show("\n\n".join(filter(None, parts)))


def _paragraphs(command: Any) -> list[str]:
    return [" ".join(each.split()) for each in (command.help or "").split("\n\n")]


def _panels(commands: Mapping[str, Any], width: int) -> list[str]:
    """The commands, those that belong together below one heading."""
    panels: dict[str, dict[str, str]] = {}
    for name, each in commands.items():
        first = _paragraphs(each)[0].partition(". ")[0].rstrip(".")
        panels.setdefault(each.rich_help_panel, {})[name] = first
    return [_list(f"{panel}:", rows, width, max(map(len, commands))) for panel, rows in panels.items()]


def _list(heading: str, rows: Mapping[str, str], width: int, first: int | None = None) -> str:
    """Names, each with its text beside it, or below where the name is long."""
    if not rows:
        return ""
    size = first or min(max(map(len, rows)), FIRST)
    lines = [_heading(heading)]
    for name, about in rows.items():
        texts = textwrap.wrap(about, max(width - size - 4, 20), break_on_hyphens=False) or [""]
        shown = f"  {coloured(name, 'cyan')}"
        lines += [shown] if len(name) > size else [f"{shown}{' ' * (size - len(name))}  {texts.pop(0)}".rstrip()]
        lines += [f"{' ' * (size + 4)}{text}" for text in texts]
    return "\n".join(lines)


def _heading(text: str) -> str:
    return coloured(text, "bold")


def _names(option: Any) -> str:
    """`-j, --jobs N`; a long name without a short one stands below the other long ones."""
    short, long = _split(option.opts)
    names = ", ".join([*short, *long]) if short else "    " + ", ".join(long)
    return names if option.is_flag else f"{names} {_placeholder(option)}"


def _split(names: Iterable[str]) -> tuple[list[str], list[str]]:
    names = list(names)
    return [each for each in names if not each.startswith("--")], [each for each in names if each.startswith("--")]


def _placeholder(parameter: Any) -> str:
    """What stands for a value."""
    word = str(parameter.metavar or parameter.name.upper())
    return word if parameter.metavar or parameter.param_type_name == "option" or parameter.required else f"[{word}]"


def _about(parameter: Any) -> str:
    """What an option or an argument means, and its default, where the text does not say it."""
    about, default = parameter.help or "", parameter.default
    if default in (None, False, ...) or callable(default) or "efault:" in about:
        return about
    return f"{about} Default: {default}."
