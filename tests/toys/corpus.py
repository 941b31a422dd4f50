"""A corpus: one sentence, over and over."""

from __future__ import annotations

from typing import Any

from rnndrop.config.corpora import CorpusSpec
from rnndrop.data.assemble import assemble
from rnndrop.data.corpus import Corpus

ROW = CorpusSpec("toy_sentence", "language_model", __name__, fixed_vocabulary=True)
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "the", "lazy", "dog", "and", "sleeps"]


def load(settings: Any) -> Corpus:
    return assemble(settings.name, settings.level, [WORDS * 30, WORDS * 5, WORDS * 5])
