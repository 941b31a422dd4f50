"""The corpora by name: of which task each is, and where it is loaded. Light: settings are checked by it.

A corpus of the user's own is a function or a row in a file of theirs, which `data=PACKAGE.MODULE:NAME` names
(`rnndrop.own`). It is imported when the corpus is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from rnndrop import own
from rnndrop.errors import RequestError

FILES = ("train", "valid", "test", "file")  # settings of `data` that name files of the user's own
GROUP = "rnndrop.corpora"
SETTING = "data"


@dataclass(frozen=True)
class CorpusSpec:
    """A corpus that `data=NAME` chooses.

    `module` has `load(settings)`, which takes the settings of `data` and returns what its `task` reads; or it is
    `function` that does. `files`: of `FILES` those that it reads. `cut`: when `data.split` says how it is parted.
    `fixed_vocabulary`: rare words cannot be made `<unk>`. `of_python`: another Python may bring another text.
    `rooted`: its files are published, and `data.root` says where they lie.
    """

    name: str
    task: str
    module: str
    files: tuple[str, ...] = ()
    cut: Literal["never", "always", "one file"] = "never"
    fixed_vocabulary: bool = False
    of_python: bool = False
    rooted: bool = False
    function: Callable[[Any], Any] | None = None
    source: str = ""  # of the user's own, the sha256 of its file
    file: Path | None = None  # and that file

    @property
    def load(self) -> Callable[[Any], Any]:
        """The function that loads it."""
        found: Callable[[Any], Any] = self.function or import_module(self.module).load
        return found


def _table(*rows: CorpusSpec) -> dict[str, CorpusSpec]:
    return {row.name: row for row in rows}


CORPORA = _table(
    CorpusSpec("synthetic", "language_model", "rnndrop.data.synthetic", fixed_vocabulary=True),
    CorpusSpec("pydoc", "language_model", "rnndrop.data.pydoc", of_python=True),
    CorpusSpec("ptb", "language_model", "rnndrop.data.published", fixed_vocabulary=True, rooted=True),
    CorpusSpec("wikitext2", "language_model", "rnndrop.data.published", fixed_vocabulary=True, rooted=True),
    CorpusSpec("text", "language_model", "rnndrop.data.text", files=FILES, cut="one file"),
    CorpusSpec("movie_reviews", "sentiment", "rnndrop.data.movie_reviews", cut="always", rooted=True),
    CorpusSpec("reviews", "sentiment", "rnndrop.data.movie_reviews", files=("file",), cut="always"),
)
"""A new corpus is one row here, a module, and `conf/data/NAME.yaml`."""

USUAL_SPLIT = (0.8, 0.1, 0.1)
"""What `data.split` is unless a corpus has another one."""


def cuts(corpus: CorpusSpec, file: str | None) -> bool:
    """Whether `data.split` parts this corpus."""
    return corpus.cut == "always" or (corpus.cut == "one file" and bool(file))


def corpus_named(name: str) -> CorpusSpec:
    """The corpus that `data.name` names, the user's own from its file as that is now. Raises RequestError."""
    if not own.is_own(name):
        if name not in CORPORA:
            raise own.no_such("corpus", name, CORPORA, GROUP)
        return CORPORA[name]
    row, file, source = own.imported(SETTING, name, CorpusSpec, _of_function)
    try:
        loads = callable(row.load)
    except (ImportError, AttributeError):
        loads = False
    if not loads:
        raise RequestError(f"{SETTING}={name}: in {file}: {row.module} has no function load.")
    return replace(row, name=name, source=source, file=file)


def _of_function(value: Any) -> CorpusSpec | None:
    """A function `load(settings)` is a corpus for a language model."""
    plain = callable(value) and not isinstance(value, type)
    return CorpusSpec("", "language_model", "", function=value) if plain else None
