from __future__ import annotations

import sys

import pytest

from rnndrop.data import pydoc
from rnndrop.errors import RequestError


@pytest.mark.parametrize(("level", "types"), [("word", (1_000, 5_000)), ("char", (60, 200))])
def test_python_carries_a_corpus(settings, level: str, types: tuple[int, int]) -> None:
    corpus = pydoc.load(settings("pydoc", level=level, min_count=2))
    total = len(corpus.train) + len(corpus.valid) + len(corpus.test)
    assert total > 50_000
    assert types[0] < len(corpus.vocabulary) < types[1]
    assert 0.6 < len(corpus.train) / total < 0.9
    assert min(len(corpus.valid), len(corpus.test)) > 0.05 * total
    assert corpus.fingerprint() == pydoc.load(settings("pydoc", level=level, min_count=2)).fingerprint()


def test_tokenisation(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    topics = {f"t{number}": f"A Title\n*******\n\nIt's x_{number}\n  Test ==." for number in range(20)}
    monkeypatch.setattr("pydoc_data.topics.topics", topics)
    corpus = pydoc.load(settings("pydoc", min_count=2))
    spelled = " ".join(corpus.vocabulary[token] for token in corpus.train)
    # The title is not here: it stands in the test split, which came first.
    assert spelled.startswith("it ' s <unk> test = = . <eos> it ' s <unk> test")
    assert "A Title" in " ".join(pydoc.by_topic(topics)["test"])


def test_topics_stay_whole_and_no_paragraph_is_in_two_splits() -> None:
    topics = {f"t{number}": f"one {number}\n\ntwo {number}\n\ncommon" for number in range(50)}
    splits = pydoc.by_topic(topics)
    owners = {part.split()[1]: split for split in splits for part in splits[split] if part != "common"}
    assert all(f"one {name}" in splits[split] and f"two {name}" in splits[split] for name, split in owners.items())
    assert len(owners) == 50
    assert sum(parts.count("common") for parts in splits.values()) == 1
    assert len(splits["train"]) > 70


def test_python_without_its_documentation(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(RequestError, match="pydoc_data"):
        pydoc.load(settings("pydoc"))
