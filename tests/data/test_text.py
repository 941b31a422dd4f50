from __future__ import annotations

from pathlib import Path

import pytest

from rnndrop.data import text
from rnndrop.errors import RequestError


def write(folder: Path, **contents: str) -> dict[str, str]:
    """Write files; return their paths by name, as settings want them."""
    for name, content in contents.items():
        (folder / name).write_bytes(content.encode("utf-8"))
    return {name: str(folder / name) for name in contents}


def test_three_files(settings, tmp_path: Path) -> None:
    paths = write(tmp_path, train="a b a\n\nb\n", valid="a z\n", test="b\r\na")
    corpus = text.load(settings("text", **paths))
    spelled = {split: [corpus.vocabulary[token] for token in corpus.split(split)] for split in paths}
    assert spelled["train"] == ["a", "b", "a", "<eos>", "<eos>", "b", "<eos>"]
    assert spelled["valid"] == ["a", "<unk>", "<eos>"]
    assert spelled["test"] == ["b", "<eos>", "a", "<eos>"]


def test_one_file_is_cut_by_lines_in_order(settings, tmp_path: Path) -> None:
    paths = write(tmp_path, file="".join(f"line {number}\n" for number in range(20)))
    corpus = text.load(settings("text", **paths, split=[0.5, 0.25, 0.25]))
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [30, 15, 15]
    assert corpus.vocabulary[corpus.train[-2]] == "9"
    assert len(text.load(settings("text", **paths)).train) == 48  # the default is 80% of the lines


def test_characters_and_min_count(settings, tmp_path: Path) -> None:
    paths = write(tmp_path, train="a a_é\n" * 3 + "x\n", valid="a\n", test="é\n")
    corpus = text.load(settings("text", **paths, level="char", min_count=2))
    assert set(corpus.vocabulary) == {"a", " ", "_", "é", "<eos>", "<unk>"}


def test_byte_order_mark_and_odd_separators(settings, tmp_path: Path) -> None:
    paths = write(tmp_path, train="\ufeffa\u2028b\n", valid="a b\n", test="a b\n")
    corpus = text.load(settings("text", **paths))
    assert [corpus.vocabulary[token] for token in corpus.train] == ["a", "b", "<eos>"]


def test_no_files(settings) -> None:
    with pytest.raises(RequestError, match=r"data\.train=.*data\.valid=.*data\.test=.*data\.file="):
        text.load(settings("text"))


def test_some_files(settings, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no data\.valid data\.test"):
        text.load(settings("text", **write(tmp_path, train="a\n")))


def test_one_file_and_three(settings, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"data\.file and data\.train"):
        text.load(settings("text", **write(tmp_path, train="a\n", file="a\n")))


@pytest.mark.parametrize("split", [[0.8, 0.2], [0.8, 0.3, 0.1], [1.0, 0.0, 0.0], [1.2, -0.1, -0.1]])
def test_split_that_is_none(settings, tmp_path: Path, split: list[float]) -> None:
    with pytest.raises(RequestError, match=r"data\.split"):
        text.load(settings("text", **write(tmp_path, file="a\nb\nc\n"), split=split))


def test_part_too_small(settings, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="valid part has 1 token"):
        text.load(settings("text", **write(tmp_path, file="a\nb\n")))
    with pytest.raises(RequestError, match="valid part has 1 token"):
        text.load(settings("text", **write(tmp_path, file="a b\n\nc d\n"), split=[0.3, 0.4, 0.3]))


def test_missing_file(settings, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"No file .*absent\.txt"):
        text.load(settings("text", file=str(tmp_path / "absent.txt")))


def test_folder_instead_of_a_file(settings, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is a folder"):
        text.load(settings("text", file=str(tmp_path)))


@pytest.mark.parametrize("content", [b"", b" \n\n"])
def test_empty_file(settings, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(RequestError, match="file is empty"):
        text.load(settings("text", file=str(tmp_path / "file")))


def test_not_utf8(settings, tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9 au lait\n")
    with pytest.raises(RequestError, match=r"latin is not UTF-8: .* at byte 3"):
        text.load(settings("text", file=str(tmp_path / "latin")))
