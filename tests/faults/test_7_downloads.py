"""A download can write nothing but what is published, wherever it comes from."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rnndrop.data import download, movie_reviews, published
from rnndrop.data.download import DownloadError, fetch, unpack
from rnndrop.data.published import PUBLISHED, File, Published
from rnndrop.errors import RequestError

NAMES = [file.name for file in movie_reviews.MOVIE_REVIEWS.files]
CONTENT = {name: f"this is {name}\n".encode() for name in NAMES}
Answer = Callable[[BaseHTTPRequestHandler], None]


def archive(*more: tarfile.TarInfo, content: dict[str, bytes] = CONTENT) -> bytes:
    """The eight files as they are published, with other members before them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for member in more:
            tar.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
        for name, each in content.items():
            member = tarfile.TarInfo(f"scaledata/{name}")
            member.size = len(each)
            tar.addfile(member, io.BytesIO(each))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.size = kind, link, 1 if kind == tarfile.REGTYPE else 0
    return made


HOSTILE = {
    "climbs": member("../../../outside"),
    "climbs to a name": member(f"../../../outside/{NAMES[0]}"),
    "absolute": member("/tmp/rnndrop-outside"),
    "link": member(f"scaledata/{NAMES[0]}", tarfile.SYMTYPE, "/etc/passwd"),
    "hard link": member(f"scaledata/{NAMES[1]}", tarfile.LNKTYPE, "../../outside"),
    "folder": member(f"scaledata/{NAMES[0]}", tarfile.DIRTYPE),
    "device": member("scaledata/zero", tarfile.CHRTYPE),
    "pipe": member(f"scaledata/{NAMES[2]}", tarfile.FIFOTYPE),
}


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """A server on loopback that answers as it is told; returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                with suppress(OSError):  # the client may have left
                    answer(self)

            def log_message(self, *_: object) -> None:
                pass

        web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(web)
        threading.Thread(target=web.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{web.server_port}/"

    yield start
    for web in servers:
        web.shutdown()
        web.server_close()


def sends(content: bytes, status: int = 200, length: int | None = None, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(content)

    return answer


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, in a folder of which everything else is outside."""
    folder = tmp_path / "home" / "cache" / "rnndrop"
    monkeypatch.delenv("RNNDROP_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("platformdirs.user_cache_path", lambda _: folder)
    return folder


def reviews(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    files = tuple(File(name, hashlib.sha256(CONTENT[name]).hexdigest()) for name in NAMES)
    monkeypatch.setattr(movie_reviews, "MOVIE_REVIEWS", Published(url, "movie-reviews", files))


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("kind", HOSTILE)
def test_7_1_a_hostile_archive_leaves_nothing_outside(
    tmp_path: Path, cache: Path, serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    reviews(monkeypatch, serve(sends(archive(HOSTILE[kind]))))
    paths = movie_reviews.locate(None)
    assert [path.read_bytes() for path in paths] == list(CONTENT.values())
    assert everything(tmp_path) == {f"home/cache/rnndrop/movie-reviews/{name}" for name in NAMES}
    assert not any(path.is_symlink() for path in tmp_path.rglob("*")) and not Path("/tmp/rnndrop-outside").exists()


def test_7_1_a_changed_archive_is_refused_and_not_kept(
    tmp_path: Path, cache: Path, serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [sends(archive(content={**CONTENT, NAMES[3]: b"other"})), sends(archive())]
    reviews(monkeypatch, serve(lambda handler: answers.pop(0)(handler)))
    with pytest.raises(RequestError, match=r"not the published file(.|\n)*data\.root=FOLDER"):
        movie_reviews.locate(None)
    assert everything(tmp_path) == set()
    assert len(movie_reviews.locate(None)) == 8  # the next run is not held by what came before


@pytest.mark.parametrize(
    ("answer", "needle"),
    [
        (sends(b"not an archive"), "no archive"),
        (sends(gzip.compress(b"\0" * 2**20)), "lacks"),
        (sends(archive()[:-40]), "no archive|lacks"),
        (sends(archive(content={NAMES[0]: b"x"})), "lacks"),
        (sends(b"x", length=1000), "early"),
        (sends(b"", 404), "404"),
        (sends(b"", 302, Location="file:///etc/passwd"), "file:///etc/passwd"),
        (sends(b"", 302, Location="/"), "redirect"),
        (sends(b"", 200, length=0), "no archive|lacks"),
    ],
)
def test_7_1_a_bad_answer(
    tmp_path: Path, cache: Path, serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch,
    answer: Answer, needle: str,
) -> None:  # fmt: skip
    reviews(monkeypatch, serve(answer))
    with pytest.raises(RequestError, match=f"could not be fetched: .*({needle})"):
        movie_reviews.locate(None)
    assert everything(tmp_path) == set()


def test_7_1_what_is_too_large_or_too_slow_is_left(
    serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def drips(handler: BaseHTTPRequestHandler) -> None:
        sends(b"", length=10**6)(handler)
        for _ in range(100):
            handler.wfile.write(b"x")
            time.sleep(0.02)

    def silent(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(1)

    monkeypatch.setattr(download, "LARGEST", 2**16)
    with pytest.raises(DownloadError, match="larger"):
        fetch(serve(sends(b"x" * 2**18)))
    with pytest.raises(DownloadError, match="unpacks to more"):
        unpack(gzip.compress(b"\0" * 2**24), NAMES)
    monkeypatch.setattr(download, "LONGEST", 0.1)
    with pytest.raises(DownloadError, match="longer than"):
        fetch(serve(drips))
    monkeypatch.setattr(download, "SILENCE", 0.1)
    with pytest.raises(DownloadError, match="timed out"):
        fetch(serve(silent))


def test_7_1_a_download_says_how_far_it_is(
    serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def slow(handler: BaseHTTPRequestHandler) -> None:
        sends(b"x" * 2**20, length=2**21)(handler)
        time.sleep(0.3)
        handler.wfile.write(b"x" * 2**20)

    monkeypatch.setattr(download, "TOLD_EVERY", 0.2)
    url = serve(slow)
    with caplog.at_level("INFO", "rnndrop"):
        assert len(fetch(url)) == 2**21
    first, *more = caplog.messages
    assert first == f"Downloading {url} (2.0 MiB)." and more and all(line.endswith(" MiB so far.") for line in more)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "data:text/plain,x", "nonsense"])
def test_7_1_only_the_network_is_fetched(url: str) -> None:
    if url.startswith("nonsense"):
        with pytest.raises(DownloadError):
            fetch(url)
    else:
        assert all(corpus.url.startswith("https://") for corpus in [*PUBLISHED.values(), movie_reviews.MOVIE_REVIEWS])


def test_7_1_a_bad_file_in_the_cache_is_fetched_again(
    cache: Path, serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = {"/a.txt": b"right\n", "/b.txt": b"x y\n"}
    files = tuple(File(name[1:], hashlib.sha256(text).hexdigest()) for name, text in content.items())
    toy = Published(serve(lambda h: sends(content[h.path])(h)), "toy", files)
    (cache / "toy").mkdir(parents=True)
    (cache / "toy" / "a.txt").write_bytes(b"bad")
    (cache / "toy" / "b.txt").write_bytes(b"\xff")
    assert [path.read_bytes() for path in published.locate(toy, None)] == [b"right\n", b"x y\n"]


def test_7_1_a_cache_that_cannot_be_written(
    tmp_path: Path, cache: Path, serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file stands in the way")
    reviews(monkeypatch, serve(sends(archive())))
    with pytest.raises(RequestError, match="Cannot keep a download"):
        movie_reviews.locate(None)
    assert [path.name for path in cache.parent.iterdir()] == ["rnndrop"]
