"""Reviews: no review on both sides of a split, chunks as the paper cuts them, nothing lost, errors that say what."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rnndrop.config.compose import compose
from rnndrop.data import load
from rnndrop.data.movie_reviews import locate
from rnndrop.data.reviews import Reviews
from rnndrop.errors import RequestError
from tests.conftest import ROOT
from tests.reviews import BAD, GOOD, write


def reviews(path: Path, *overrides: str) -> Reviews:
    return load(
        compose(["task=sentiment", "data=reviews", "data.chunk_tokens=10", f"data.file={path}", *overrides]).data
    )


def texts(data: Reviews, split: str) -> dict[int, list[list[str]]]:
    """Review → the words of its chunks in a split."""
    found: dict[int, list[list[str]]] = {}
    chunks = data.split(split)
    for row, (length, review) in enumerate(zip(chunks.lengths, chunks.review, strict=True)):
        found.setdefault(int(review), []).append([data.vocabulary[word] for word in chunks.tokens[row, :length]])
    return found


SPLITS = ("train", "valid", "test")


def test_by_review_no_review_is_on_two_sides(tmp_path: Path) -> None:
    data = reviews(write(tmp_path / "r.tsv"))
    sides = [set(data.split(split).review.tolist()) for split in SPLITS]
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]
    assert [len(side) for side in sides] == [42, 6, 12]  # 70, 10, 20 % of 60


def test_by_review_a_text_that_occurs_twice_stays_on_one_side(tmp_path: Path) -> None:
    path = write(tmp_path / "r.tsv")
    path.write_text(path.read_text() * 2)
    data = reviews(path)
    side_of = {review: split for split in SPLITS for review in data.split(split).review.tolist()}
    assert all(side_of[number] == side_of[number + 60] for number in range(60))


def test_by_chunk_is_the_paper_s_and_a_review_may_straddle(tmp_path: Path) -> None:
    data = reviews(write(tmp_path / "r.tsv"), "data.split_by=chunk")
    sizes = [len(data.split(split)) for split in SPLITS]
    assert sizes == [round(sum(sizes) * share) for share in (0.7, 0.1, 0.2)]  # of the chunks
    sides = [set(data.split(split).review.tolist()) for split in SPLITS]
    assert sum(map(len, sides)) - len(set().union(*sides)) in (1, 2)  # one at most where a part ends


@pytest.mark.parametrize("split_by", ["review", "chunk"])
def test_every_word_is_there_once_and_chunks_are_cut_from_the_front(tmp_path: Path, split_by: str) -> None:
    path = write(tmp_path / "r.tsv")
    data = reviews(path, f"data.split_by={split_by}")
    rows = [line.split("\t") for line in path.read_text().splitlines()]
    counts: Counter[int] = Counter()
    for split in SPLITS:
        chunks = data.split(split)
        for review, own in texts(data, split).items():
            words = rows[review][1].split()
            pieces = [words[at : at + 10] for at in range(0, len(words), 10)]
            assert all([word if word in data.vocabulary else "<unk>" for word in piece] in own for piece in pieces) or (
                split_by == "chunk"
            )
            counts[review] += sum(map(len, own))
        assert np.array_equal(chunks.ratings, [float(rows[review][0]) for review in chunks.review])
        assert not chunks.tokens[np.arange(chunks.tokens.shape[1]) >= chunks.lengths[:, None]].any()
    assert counts == Counter({number: len(text.split()) for number, (_, text) in enumerate(rows)})


def test_the_split_is_the_same_for_every_seed_and_known_by_its_sha256(tmp_path: Path) -> None:
    path = write(tmp_path / "r.tsv")
    one, two = (reviews(path, f"seed={seed}").fingerprint() for seed in (0, 1))
    assert one == two
    assert one["sha256"] != reviews(path, "data.split_by=chunk").fingerprint()["sha256"]
    assert one["train_reviews"] + one["valid_reviews"] + one["test_reviews"] == 60


def test_rare_words_are_unknown_and_the_vocabulary_is_that_of_the_training_part(tmp_path: Path) -> None:
    data = reviews(write(tmp_path / "r.tsv"), "data.types=8")
    assert sorted(data.vocabulary) == sorted([*GOOD, *BAD, "<unk>"])
    share = data.fingerprint()["oov_rate"]["test"]
    assert share == 12 / data.test.lengths.sum()  # the name of each of the 12 films


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0.5 no tab here\n", "line 1"),
        ("0.5\tgood\nmany\tstars\n", "line 2: 'many' is not a rating"),
        ("nan\tgood\n", "'nan' is not a rating"),
        ("0.5\tgood\n0.7\t \n", "line 2: there is no text"),
        ("0.5\tgood\n0.7\tbad\n", "a part would be empty"),
        ("0.5\tgood film\n" * 3 + "".join(f"0.5\tgood film {n}\n" for n in range(20)), "all training ratings are 0.5"),
        ("", "is empty"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "r.tsv").write_text(content)
    with pytest.raises(RequestError, match=message):
        reviews(tmp_path / "r.tsv")


def test_a_file_is_needed() -> None:
    with pytest.raises(RequestError, match=r"data\.file=FILE"):
        load(compose(["task=sentiment", "data=reviews"]).data)


def test_a_folder_without_the_movie_reviews_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"subj\.Dennis\+Schwartz"):
        locate(str(tmp_path))


def test_another_file_under_a_published_name_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "Dennis+Schwartz"
    folder.mkdir()
    (folder / "subj.Dennis+Schwartz").write_text("not the reviews\n")
    with pytest.raises(RequestError, match="is not the published file"):
        locate(str(tmp_path))


@pytest.fixture(scope="module")
def movie_reviews() -> Path:
    """The folder of the real reviews; the test is skipped where it is absent."""
    places = (
        Path(os.environ.get("RNNDROP_DATA", "")),
        *(up / "shared" / "data" for up in (ROOT.parent, ROOT.parents[1])),
    )
    for place in places:
        if (place / "movie-reviews" / "Steve+Rhodes").exists():
            return place
    pytest.skip("the movie reviews are absent: set RNNDROP_DATA to the folder that holds movie-reviews/")


def test_the_real_reviews_are_those_of_the_paper(movie_reviews: Path) -> None:
    def real(split_by: str) -> Reviews:
        request = ["task=sentiment", f"data.root={movie_reviews}", f"data.split_by={split_by}"]
        return load(compose(request).data)

    data, leaking = real("review"), real("chunk")
    facts = data.fingerprint()
    assert facts["train_reviews"] + facts["valid_reviews"] + facts["test_reviews"] == 5006
    assert facts["vocab_size"] == 20_001
    reviews = np.concatenate([data.split(split).review for split in SPLITS])
    ratings = np.concatenate([data.split(split).ratings for split in SPLITS])
    first = ratings[np.unique(reviews, return_index=True)[1]]
    assert (round(first.mean(), 3), round(first.std(), 3)) == (0.581, 0.182)  # as the paper's data have it
    facts = leaking.fingerprint()
    assert 5006 <= facts["train_reviews"] + facts["valid_reviews"] + facts["test_reviews"] <= 5008
    assert not set(data.train.review.tolist()) & set(data.test.review.tolist())
