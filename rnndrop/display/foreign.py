"""Somebody else's text made harmless, the one place for it: for a terminal, Markdown, LaTeX and a spreadsheet.

Labels, hosts, errors, setting's names and values come from records, which people copy from each other. HTML is escaped
by `html.escape`, and by the page as text nodes.
"""

from __future__ import annotations

from typing import Any

UNSHOWN = "\N{REPLACEMENT CHARACTER}"
_ENDS = str.maketrans("", "", "\n\t")
_MARKDOWN = {sign: f"\\{sign}" for sign in "\\|*_`[]"} | {"<": "&lt;", ">": "&gt;", "\n": " "}
_LATEX = {"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "%": r"\%", "&": r"\&", "#": r"\#", "_": r"\_",
          "$": r"\$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "×": r"$\times$",
          "−": r"$-$", "·": r"$\cdot$", "†": r"\dag{}", "—": "---", "<": r"$<$", ">": r"$>$", "…": r"\ldots{}",
          "∞": r"$\infty$"}  # fmt: skip
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
    """Escape a text for LaTeX; what pdfLaTeX has no glyph for becomes a question mark."""
    return "".join(_LATEX.get(sign, sign if sign.isascii() and sign.isprintable() else "?") for sign in text)


def cell(value: Any) -> Any:
    """A value for a spreadsheet: a text that would be read as a formula begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
