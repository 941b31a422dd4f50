from __future__ import annotations

import subprocess
import sys

import pytest

from rnndrop.data import load
from rnndrop.errors import RequestError


def test_default_corpus(settings) -> None:
    assert load(settings("synthetic")).name == "synthetic"


def test_train_tokens_leaves_the_rest_alone(settings) -> None:
    whole, part = load(settings("synthetic")), load(settings("synthetic", train_tokens=500))
    assert part.train.tolist() == whole.train[:500].tolist()
    assert part.vocabulary == whole.vocabulary
    assert part.floor == whole.floor
    assert len(whole.train) == 100_000


def test_unknown_corpus(settings) -> None:
    with pytest.raises(RequestError, match="Did you mean 'wikitext2'"):
        load(settings("wikitext"))


def test_unknown_level(settings) -> None:
    with pytest.raises(RequestError, match="Did you mean 'char'"):
        load(settings("pydoc", level="chars"))


@pytest.mark.parametrize(("name", "count", "says"), [("pydoc", 0, "at least 1"), ("ptb", 2, "ptb is fixed")])
def test_min_count_that_cannot_be(settings, name: str, count: int, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        load(settings(name, min_count=count))


def test_importing_is_light() -> None:
    heavy = "torch hydra pandas pooch requests scipy"
    code = f"import sys, rnndrop.data; print(*set({heavy.split()!r}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
