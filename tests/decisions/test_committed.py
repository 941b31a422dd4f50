"""The decisions on real runs in `results/decisions` follow from their scores, and the guide says what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnndrop.decisions.audit import other_looks
from rnndrop.decisions.document import Decision
from rnndrop.decisions.words import sentences
from tests.conftest import ROOT

COMMITTED = sorted((ROOT / "results" / "decisions").glob("*.json"))


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_a_committed_decision_follows_from_its_scores(path: Path) -> None:
    assert other_looks(Decision.from_json(path.read_text("utf-8"))) == ""


def test_the_guide_says_what_they_say() -> None:
    guide = " ".join((ROOT / "docs/guide/decisions.md").read_text("utf-8").split())
    assert len(COMMITTED) > 2
    for path in COMMITTED:
        said = sentences(Decision.from_json(path.read_text("utf-8")))[0]
        assert said in guide, said
