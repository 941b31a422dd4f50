"""Real English without a download: the language reference that CPython carries for `help()`.

The text is `pydoc_data.topics` of the running Python, so it **differs between Python versions**: compare
runs on it only when the fingerprints of their corpora agree. It is small (about 90,000 words) and full of
code and grammar; it shows real word frequencies, not prose.

Tokenisation: a topic is cut into paragraphs at blank lines, whitespace is collapsed, and `<eos>` ends a
paragraph. Drawn rules (underlines of headings, borders of tables) go. A paragraph that came before, in any
topic, is left out, so that no held-out text stands in the training split. At word level the text is
lower-cased and cut into runs of letters, digits and underscores, with every other sign a token of its own.
At character level it stays as it is.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from rnndrop.data.assemble import assemble
from rnndrop.data.corpus import SPLITS, Corpus
from rnndrop.data.vocabulary import tokens_of
from rnndrop.errors import RequestError

RULE = re.compile(r"\+?([^\w\s])\1{3,}\+?")
BLANK_LINE = re.compile(r"\n\s*\n")
WORD = re.compile(r"\w+|[^\w\s]")


def load(settings: Any) -> Corpus:
    """Python's own documentation at `settings.level`; types below `settings.min_count` become `<unk>`."""
    splits = by_topic(_topics())
    texts = [[_prepared(paragraph, settings.level) for paragraph in splits[split]] for split in SPLITS]
    tokens = [tokens_of(text, settings.level) for text in texts]
    return assemble("pydoc", settings.level, tokens, settings.min_count)


def by_topic(topics: dict[str, str]) -> dict[str, list[str]]:
    """Deal whole topics into splits: about 10% of the characters each for test and valid, the rest for train.

    Topics come in the order of their names' sha256, which is arbitrary but fixed.
    """
    order = sorted(topics, key=lambda name: hashlib.sha256(name.encode("utf-8")).digest())
    paragraphs = {name: _paragraphs(topics[name]) for name in order}
    _drop_repeats(paragraphs)
    sizes = {name: sum(map(len, paragraphs[name])) for name in order}
    total, before = sum(sizes.values()), 0
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for name in order:
        middle = (before + sizes[name] / 2) / total
        splits["test" if middle < 0.1 else "valid" if middle < 0.2 else "train"] += paragraphs[name]
        before += sizes[name]
    return splits


def _paragraphs(text: str) -> list[str]:
    parts = (" ".join(part.split()) for part in BLANK_LINE.split(RULE.sub("", text)))
    return [part for part in parts if part]


def _drop_repeats(paragraphs: dict[str, list[str]]) -> None:
    seen: set[str] = set()
    for name, parts in paragraphs.items():
        paragraphs[name] = [part for part in dict.fromkeys(parts) if part not in seen]
        seen.update(parts)


def _prepared(paragraph: str, level: str) -> str:
    return paragraph if level == "char" else " ".join(WORD.findall(paragraph.lower()))


def _topics() -> dict[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise RequestError(
            "data=pydoc needs the module pydoc_data, which this Python was built without. "
            "Use data=synthetic, or your own text with data=text data.file=FILE."
        ) from error
    return topics
