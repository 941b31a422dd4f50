"""Somebody else's text made harmless, the one place for it: for a terminal, Markdown, LaTeX and a spreadsheet.

Labels, hosts, errors, setting's names and values come from records, which people copy from each other. HTML is escaped
by `html.escape`, and by the page as text nodes.
"""

from __future__ import annotations

import re
from typing import Any
from unicodedata import normalize

UNSHOWN = "\N{REPLACEMENT CHARACTER}"
_ENDS = str.maketrans("", "", "\n\t")
_MARKDOWN = {sign: f"\\{sign}" for sign in "\\|*_`[]"} | {"<": "&lt;", ">": "&gt;", "\n": " "}
_LATEX = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "%": r"\%", "&": r"\&", "#": r"\#", "_": r"\_",
          "$": r"\$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "×": r"$\times$",
          "−": r"$-$", "·": r"$\cdot$", "†": r"\dag{}", "—": r"\textemdash{}", "<": r"$<$", ">": r"$>$",
          "…": r"\ldots{}", "∞": r"$\infty$", "≤": r"$\leq$", "≥": r"$\geq$", "≈": r"$\approx$", "÷": r"$\div$",
          "→": r"$\to$", "|": r"$|$", "’": "'", "‘": "`", "“": "``", "”": "''", "–": r"\textendash{}",
          "\N{NO-BREAK SPACE}": "~",
          "[": "{[}", "]": "{]}",  # or they would be the argument of what stands before
          "ß": r"\ss{}", "ø": r"\o{}",
          "Ø": r"\O{}", "ł": r"\l{}", "Ł": r"\L{}", "æ": r"\ae{}", "Æ": r"\AE{}", "œ": r"\oe{}", "Œ": r"\OE{}",
          "ı": r"\i{}", **{letter: rf"$\{name}$" for letter, name in zip("αβγδλμσθερκτωΔ", (
              "alpha", "beta", "gamma", "delta", "lambda", "mu", "sigma", "theta", "epsilon", "rho", "kappa", "tau",
              "omega", "Delta"), strict=True)}}  # fmt: skip
_ACCENTS = {"\N{COMBINING GRAVE ACCENT}": "`", "\N{COMBINING ACUTE ACCENT}": "'",
            "\N{COMBINING CIRCUMFLEX ACCENT}": "^",
            "\N{COMBINING TILDE}": "~", "\N{COMBINING DIAERESIS}": '"', "\N{COMBINING MACRON}": "=",
            "\N{COMBINING BREVE}": "u", "\N{COMBINING DOT ABOVE}": ".", "\N{COMBINING RING ABOVE}": "r",
            "\N{COMBINING DOUBLE ACUTE ACCENT}": "H", "\N{COMBINING CARON}": "v", "\N{COMBINING CEDILLA}": "c",
            "\N{COMBINING DOT BELOW}": "d"}  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def plain(text: str, keep: str = "") -> str:
    """Without the signs that a terminal would obey, or that turn its text round; but for those of `keep`."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else UNSHOWN for sign in text)


def lines(text: str) -> str:
    """As `plain`, but the ends of lines and tabs stay."""
    return text if text.translate(_ENDS).isprintable() else plain(text, "\n\t")


def cleaned(tree: Any) -> Any:
    """What JSON holds, all its texts and keys as `lines` has them."""
    if isinstance(tree, str):
        return lines(tree)
    if isinstance(tree, dict):
        return {lines(name): cleaned(value) for name, value in tree.items()}
    return [cleaned(value) for value in tree] if isinstance(tree, list) else tree


def markdown(text: str) -> str:
    """Escape what Markdown or HTML would read as markup."""
    return plain("".join(_MARKDOWN.get(sign, sign) for sign in text))


def latex(text: str) -> str:
    """Escape a text for LaTeX, accents too; what every engine and font encoding need not have is a question mark."""
    return re.sub(r"^(?=\*)|(?<=-)(?=-)", "{}", "".join(map(_tex, normalize("NFC", text))))


def _tex(sign: str) -> str:
    if sign in _LATEX:
        return _LATEX[sign]
    if sign.isascii() and sign.isprintable():
        return sign
    letter, mark = normalize("NFD", sign)[:1], normalize("NFD", sign)[1:]
    return rf"\{_ACCENTS[mark]}{{{letter}}}" if letter.isascii() and mark in _ACCENTS else "?"


def cell(value: Any) -> Any:
    """A value for a spreadsheet: a text that would be read as a formula begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
