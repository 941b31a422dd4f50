from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rnndrop.data import published
from rnndrop.data.files import read_lines
from rnndrop.data.published import PUBLISHED, File, Published
from rnndrop.data.vocabulary import tokens_of
from rnndrop.errors import RequestError

TEXTS = {"train.txt": "a b\n\na <unk>\n", "valid.txt": "a c\n", "test.txt": "b\n"}


def toy(url: str = "http://127.0.0.1:9/") -> Published:
    """A corpus of three small files, of which the first has another name too, as with WikiText-2."""
    sha = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in TEXTS.items()}
    return Published(
        url,
        "toy",
        (
            File("train.txt", sha["train.txt"], ("toy.train.tokens",)),
            File("valid.txt", sha["valid.txt"]),
            File("test.txt", sha["test.txt"]),
        ),
    )


def write(folder: Path, **changed: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in TEXTS.items():
        (folder / name).write_text(changed.get(name.removesuffix(".txt"), text))
    return folder


@pytest.fixture(autouse=True)
def on_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No folder, an empty cache, and a toy corpus at an address where nobody listens."""
    monkeypatch.delenv("RNNDROP_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: tmp_path / "cache" / name)
    monkeypatch.setitem(PUBLISHED, "toy", toy())


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A web server for a folder, from which the toy corpus is fetched."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    folder = write(tmp_path / "web")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        monkeypatch.setitem(PUBLISHED, "toy", toy(f"http://127.0.0.1:{web.server_port}/"))
        yield folder
        web.shutdown()
        thread.join()


def test_penn_treebank_words(settings, published_folder) -> None:
    corpus = published.load(settings("ptb", root=str(published_folder("ptb").parent)))
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (929_589, 73_760, 82_430)
    assert len(corpus.vocabulary) == 10_000
    assert corpus.vocabulary[:3] == ["the", "<unk>", "<eos>"]


def test_penn_treebank_characters(settings, published_folder) -> None:
    corpus = published.load(settings("ptb", root=str(published_folder("ptb")), level="char"))
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (5_017_482, 393_042, 442_423)
    assert len(corpus.vocabulary) == 50
    assert "".join(corpus.vocabulary[token] for token in corpus.train[:16]) == "aer_banknote_ber"


@pytest.mark.parametrize("number", [0, 1, 2])
def test_wikitext2_as_far_as_it_is_there(published_folder, number: int) -> None:
    corpus, folder = PUBLISHED["wikitext2"], published_folder("wikitext-2")
    if not any((folder / name).exists() for name in ("train.txt", "wiki.train.tokens")) and number == 0:
        pytest.skip("the training split of WikiText-2 is not there")
    path = published.find(corpus, corpus.files[number], folder)
    assert len(tokens_of(read_lines(path), "word")) == [2_088_628, 217_646, 245_569][number]


@pytest.mark.parametrize("where", ["root", "variable"])
@pytest.mark.parametrize("below", ["", "toy"])
def test_from_a_folder(settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, below: str) -> None:
    write(tmp_path / "data" / below)
    root = str(tmp_path / "data")
    monkeypatch.setenv("RNNDROP_DATA", root if where == "variable" else "elsewhere")
    corpus = published.load(settings("toy", root=root if where == "root" else None))
    assert corpus.vocabulary == ["<eos>", "a", "<unk>", "b"]
    assert [corpus.vocabulary[token] for token in corpus.valid] == ["a", "<unk>", "<eos>"]


def test_the_other_file_name(settings, tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    (folder / "train.txt").rename(folder / "toy.train.tokens")
    assert len(published.load(settings("toy", root=str(folder))).train) == 7


def test_wrong_checksum_in_a_folder(settings, tmp_path: Path) -> None:
    folder = write(tmp_path / "data", valid="a d\n")
    expected, found = (hashlib.sha256(text).hexdigest() for text in (b"a c\n", b"a d\n"))
    with pytest.raises(RequestError, match=rf"valid\.txt is not .*\n.*{expected}\n.*{found}"):
        published.load(settings("toy", root=str(folder)))


def test_folder_without_the_files(settings, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as error:
        published.load(settings("toy", root=str(tmp_path)))
    for named in ("train.txt or toy.train.tokens", "valid.txt", "data.root=FOLDER", "RNNDROP_DATA"):
        assert named in str(error.value)


def test_without_network(settings) -> None:
    with pytest.raises(RequestError) as error:
        published.load(settings("toy"))
    for named in ("could not be fetched", "test.txt", toy().files[2].sha256, "data.root=FOLDER", "RNNDROP_DATA"):
        assert str(named) in str(error.value)


def test_download_is_kept(settings, server: Path) -> None:
    first = published.load(settings("toy")).fingerprint()
    for file in server.iterdir():
        file.unlink()
    assert published.load(settings("toy")).fingerprint() == first


def test_download_with_a_wrong_checksum(settings, server: Path, tmp_path: Path) -> None:
    (server / "test.txt").write_text("changed\n")
    with pytest.raises(RequestError, match=r"test\.txt could not be fetched(.|\n)*sha256"):
        published.load(settings("toy"))
    assert not (tmp_path / "cache" / "rnndrop" / "toy" / "test.txt").exists()


def test_page_that_is_gone(settings, server: Path) -> None:
    (server / "valid.txt").unlink()
    with pytest.raises(RequestError, match=r"valid\.txt could not be fetched.*404"):
        published.load(settings("toy"))
