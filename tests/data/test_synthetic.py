from __future__ import annotations

import itertools
import math
import time

import numpy as np
import pytest

from rnndrop.data import synthetic
from rnndrop.data.synthetic import ONE, Source, rows
from rnndrop.errors import RequestError


def tiny() -> Source:
    return Source(rows([1, 2]), rows([[3, 1], [1, 4]]), rows([[5, 1, 0], [1, 2, 3]]))


def enumerated(source: Source, tokens: list[int]) -> float:
    """p(tokens), summed over every hidden path."""
    initial, transition, emission = (part / ONE for part in (source.initial, source.transition, source.emission))
    total = 0.0
    for path in itertools.product(range(len(initial)), repeat=len(tokens)):
        chance = initial[path[0]]
        for before, after in itertools.pairwise(path):
            chance *= transition[before, after]
        total += chance * math.prod(emission[state, token] for state, token in zip(path, tokens, strict=True))
    return total


def test_forward_algorithm_against_all_paths() -> None:
    tokens = [0, 2, 1, 1, 2, 0, 0]
    scores = tiny().probabilities(np.array(tokens))
    for end in range(1, len(tokens) + 1):
        assert np.prod(scores[:end]) == pytest.approx(enumerated(tiny(), tokens[:end]), rel=1e-12)
    given_first = enumerated(tiny(), tokens) / enumerated(tiny(), tokens[:1])
    assert tiny().perplexity(np.array(tokens)) == pytest.approx(given_first ** (-1 / 6), rel=1e-12)


def test_sampled_frequencies_follow_the_source() -> None:
    """Compare pairs of tokens: their true distribution takes initial, transition and emission together."""
    tokens = tiny().sample(40_000, "frequencies")
    transition, emission = tiny().transition / ONE, tiny().emission / ONE
    stationary = np.linalg.matrix_power(transition, 200)[0]
    expected = emission.T @ np.diag(stationary) @ transition @ emission
    counts = np.zeros((3, 3))
    np.add.at(counts, (tokens[:-1], tokens[1:]), 1)
    np.testing.assert_allclose(counts / counts.sum(), expected, atol=0.01)


def test_sample_is_a_function_of_its_seed() -> None:
    assert np.array_equal(tiny().sample(50, "a"), tiny().sample(50, "a"))
    assert not np.array_equal(tiny().sample(50, "a"), tiny().sample(50, "b"))
    assert tiny().sample(0, "a").shape == (0,)


def test_impossible_types_are_never_drawn() -> None:
    source = Source(rows([1]), rows([[1]]), rows([[0, 1, 0, 1, 0]]))
    assert set(source.sample(1_000, "zeros").tolist()) == {1, 3}


def test_rows_sum_to_one_exactly() -> None:
    assert rows([[1, 1, 1], [0, 7, 2]]).sum(-1).tolist() == [ONE, ONE]
    with pytest.raises(ValueError, match="initial must sum"):
        Source(np.array([1]), rows([[1]]), rows([[1]]))


def test_default_corpus_is_bit_identical_everywhere() -> None:
    record = synthetic.default_corpus().fingerprint()
    assert record["sha256"] == "53d7e7efd8ee76efa326fcc5d730956249f01344406e3fd7fc50856c10debd7d"
    assert (record["train_tokens"], record["valid_tokens"], record["test_tokens"]) == (100_000, 10_000, 10_000)
    assert record["vocab_size"] == 2_000
    assert record["floor_perplexity_valid"] == pytest.approx(151.133952394, rel=1e-9)
    assert record["floor_perplexity"] == pytest.approx(145.479412066, rel=1e-9)


def test_default_corpus_leaves_room_between_unigram_and_floor() -> None:
    corpus = synthetic.default_corpus()
    counts = np.bincount(corpus.train, minlength=len(corpus.vocabulary)) + 0.5
    unigram = math.exp(-np.mean(np.log(counts[corpus.test] / counts.sum())))
    assert corpus.floor is not None
    assert 500 < unigram < 600
    assert 3.5 < unigram / corpus.floor["test"] < 4


def test_default_corpus_is_quick() -> None:
    synthetic.default_source.cache_clear()
    synthetic.default_corpus.cache_clear()
    start = time.process_time()
    synthetic.default_corpus()
    assert time.process_time() - start < 2  # takes 0.2 s; room for a busy machine


def test_no_characters(settings) -> None:
    with pytest.raises(RequestError, match="data=synthetic has no level 'char'"):
        synthetic.load(settings("synthetic", level="char"))
