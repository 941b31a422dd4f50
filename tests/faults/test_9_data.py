"""Files of data that were ignored, or read as what they are not, without a word."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from rnndrop.config.compose import compose
from rnndrop.config.schema import DataSettings
from rnndrop.data.reviews import assemble
from rnndrop.errors import RequestError
from rnndrop.runs.loading import load_corpus

WORDS = "the quick brown fox jumps over the lazy dog\n"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.file=x.txt"], "data.file is for data=text or data=reviews, and this is data=synthetic."),
        (["data=ptb", "data.train=x.txt"], "data.train is for data=text, and this is data=ptb."),
        (["task=sentiment", "data=movie_reviews", "data.file=x.txt"], "and this is data=movie_reviews."),
        (["task=sentiment", "data=reviews", "data.valid=x.txt"], "data.valid is for data=text, and this is"),
    ],
)
def test_a_file_that_the_corpus_does_not_read_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        compose(overrides)


def text(folder: Path, *overrides: str, **files: str) -> DataSettings:
    """The settings of a text in these files."""
    for name, content in files.items():
        (folder / f"{name}.txt").write_text(content, "utf-8")
    return compose(["data=text", *(f"data.{name}={folder / name}.txt" for name in files), *overrides]).data


def test_one_text_for_two_splits_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    load_corpus(text(tmp_path, train=WORDS * 9, valid=WORDS * 5, test=WORDS * 4))
    assert not caplog.records
    load_corpus(text(tmp_path, train=WORDS * 9, valid=WORDS * 9, test=WORDS * 4))
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "data.train and data.valid are the same text"
    ]


@pytest.mark.parametrize("content", [WORDS.replace("\n", "\n\n"), WORDS.replace("\n", " <eos>\n")])
def test_a_text_of_many_empty_lines_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str) -> None:
    load_corpus(text(tmp_path, file=WORDS * 50))
    assert not caplog.records
    load_corpus(text(tmp_path, file=content * 50))
    assert caplog.text.count("are an <eos> after another: empty lines, or a text that has its own") == 1
    caplog.clear()
    load_corpus(text(tmp_path, "data.level=char", file=content * 50))
    assert not caplog.records


def test_reviews_that_differ_in_white_space_are_copies() -> None:
    """Of each review two: both are on one side."""
    letters = itertools.product("abcde", repeat=3)
    texts = [" ".join(f"{a}{b}{c}{n}" for n in range(6)) for a, b, c in itertools.islice(letters, 40)]
    twice = [(float(at % 5), shown) for at, one in enumerate(texts) for shown in (one, f" {one.replace(' ', '  ')} ")]
    settings = compose(["task=sentiment", "data=reviews", "data.file=none", "data.split_by=review"]).data
    found = assemble(twice, settings)
    parts = [set(part.review // 2) for part in (found.train, found.valid, found.test)]
    assert all(parts) and not any(one & other for one, other in itertools.combinations(parts, 2))


def test_a_key_that_is_none_is_answered_with_all_groups() -> None:
    with pytest.raises(RequestError, match=r"Valid: .*\bseeds\b"):
        compose(["foo=1"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.cell=lsmt", "it must be one of lstm gru .*[.] Did you mean 'lstm'[?]"),
        (
            "trainer.optimizer=admm",
            "admm: it must be one of sgd adam adamw. Did you mean 'adam'[?]$",
        ),
        ("trainer.epochs=abc", "^trainer.epochs=abc: it must be a whole number.$"),
        ("trainer.epochs=0", "^trainer.epochs=0: it must be greater than or equal to 1.$"),
        ("trainer.learning_rate=null", "^trainer.learning_rate=null: it must be a number.$"),
        ("model.tie_weights=maybe", "^model.tie_weights=maybe: it must be true or false.$"),
    ],
)
def test_a_wrong_value_is_answered_in_our_words(override: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        compose([override])
