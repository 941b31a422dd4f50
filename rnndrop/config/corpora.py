"""The corpora by name: of which task each is, and where it is loaded. Light: settings are checked by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal


@dataclass(frozen=True)
class CorpusSpec:
    """A corpus that `data=NAME` chooses.

    `module` has `load(settings)`, which takes the settings of `data` and returns what its `task` reads. `own_files`:
    it is the user's, named by path. `cut`: when `data.split` says how it is parted. `fixed_vocabulary`: rare words
    cannot be made `<unk>`.
    """

    name: str
    task: str
    module: str
    own_files: bool = False
    cut: Literal["never", "always", "one file"] = "never"
    fixed_vocabulary: bool = False

    @property
    def load(self) -> Callable[[Any], Any]:
        """The function that loads it."""
        found: Callable[[Any], Any] = import_module(self.module).load
        return found


def _table(*rows: CorpusSpec) -> dict[str, CorpusSpec]:
    return {row.name: row for row in rows}


CORPORA = _table(
    CorpusSpec("synthetic", "language_model", "rnndrop.data.synthetic", fixed_vocabulary=True),
    CorpusSpec("pydoc", "language_model", "rnndrop.data.pydoc"),
    CorpusSpec("ptb", "language_model", "rnndrop.data.published", fixed_vocabulary=True),
    CorpusSpec("wikitext2", "language_model", "rnndrop.data.published", fixed_vocabulary=True),
    CorpusSpec("text", "language_model", "rnndrop.data.text", own_files=True, cut="one file"),
    CorpusSpec("movie_reviews", "sentiment", "rnndrop.data.movie_reviews", cut="always"),
    CorpusSpec("reviews", "sentiment", "rnndrop.data.movie_reviews", own_files=True, cut="always"),
)
"""A new corpus is one row here, a module, and `conf/data/NAME.yaml`."""
