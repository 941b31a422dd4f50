"""Records read in pieces: the same is read, and the same refused, as where each is read by itself."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from rnndrop.config.compose import compose
from rnndrop.config.identity import recorded
from rnndrop.store.pieces import Pieces
from rnndrop.store.records import SUM, Record

METRICS = {"valid_perplexity": 2.5, "test_perplexity": 3.5, "mc": {"samples": 10, "masks": "pass"}}
EDITS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another type": lambda content: content["metrics"].update(test_perplexity="3"),
    "another type of a setting": lambda content: content["config"]["trainer"].update(batch_size="20"),
    "no seed": lambda content: content.pop("seed"),
    "no configuration": lambda content: content.update(config={}),
    "an empty list": lambda content: content.update(overrides=[]),
    "a key of later": lambda content: content.update({"later, ": {" ": [], "!": 1}}),
    "a later schema": lambda content: content.update(schema=2),
    "no score": lambda content: content["metrics"].pop("test_perplexity"),
    "signs": lambda content: content.update(error="\x1b[2J ü"),
    "not a number": lambda content: content["metrics"].update(test_perplexity=float("nan")),
    "a sum as a part": lambda content: content["data"].update({SUM: "0" * 64}),
}


def record(*overrides: str, seed: int = 0) -> str:
    config = recorded(compose(["dropout=variational", f"seed={seed}", *overrides]))
    return Record(
        1, "a" * 16, seed, "finished", list(overrides), config, {"name": "synthetic"}, metrics=METRICS
    ).to_json()


def outcome(text: str, known: Pieces | None = None) -> Record | str:
    try:
        return Record.from_json(text, known)
    except ValueError as error:
        return f"{type(error).__name__}: {error}"


@pytest.fixture
def known() -> Pieces:
    """That have met what is read afterwards."""
    found = Pieces()
    for seed in range(3):
        assert found.content(record(seed=seed), SUM)
    return found


def test_what_runs_share_is_read_once(known: Pieces) -> None:
    first, other = (Record.from_json(record(seed=seed), known) for seed in (1, 2))
    assert first.config["trainer"] is other.config["trainer"]
    assert [first, other] == [Record.from_json(record(seed=seed)) for seed in (1, 2)]


@pytest.mark.parametrize("indent", [1, 2, None])
@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_an_edited_record_with_a_right_sum(known: Pieces, edit: Callable[[dict[str, Any]], Any], indent: int) -> None:
    content = json.loads(record())
    del content[SUM]
    edit(content)
    text = json.dumps({**content, SUM: sum_of(content)}, indent=indent)
    assert outcome(text, known) == outcome(text)
    assert "sha256 that it names" not in str(outcome(text))


def test_what_stands_elsewhere_than_its_line_says_is_not_taken_for_a_key(known: Pieces) -> None:
    text = record()
    nested = text.replace('{\n  "task"', '{"data": {\n  "task"').replace('\n "data": {', '}, "x": {\n "data": {', 1)
    content = json.loads(record())
    del content[SUM]
    nested = nested.replace(json.loads(text)[SUM], sum_of(content))
    assert outcome(nested, known) == outcome(nested)


@pytest.mark.parametrize("seed", range(10))
def test_a_damaged_record(known: Pieces, seed: int) -> None:
    for number in range(30):
        damaged = damage(record(), random.Random(f"{seed}/{number}"))
        assert outcome(damaged, known) == outcome(damaged)


def sum_of(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def damage(text: str, chance: random.Random) -> str:
    lines = text.split("\n")
    at, to = sorted(chance.sample(range(len(lines)), 2))
    match chance.randrange(6):
        case 0:
            lines[at:to] = []
        case 1:
            lines[at], lines[to] = lines[to], lines[at]
        case 2:
            lines.insert(to, lines[at])
        case 3:
            lines[at] = chance.choice(["}", "},", " }", '{"a": {', " ", lines[at].strip(), f" {lines[at]}"])
        case 4:
            lines[at] = lines[at].replace(chance.choice('",:{}[]01 '), chance.choice('",:{}[]01 \t'), 1)
        case _:
            lines[at] = lines[at].replace(chance.choice("aeinorst"), chance.choice("aeinorst"), 1)
    return "\n".join(lines)
