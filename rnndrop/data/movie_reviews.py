"""Where rated reviews come from: the published movie reviews, or the user's own file.

The movie reviews are the scale data v1.0 of Pang & Lee 2005 (arXiv:cs/0506075): 5,006 reviews of four critics, with
ratings from 0 to 1. For each critic `subj.NAME` has a line for each review, what Pang & Lee kept of it: the sentences
that a classifier called subjective, without explicit ratings; `rating.NAME` has the ratings. With a folder given,
by `data.root` or the environment variable `RNNDROP_DATA`, they come from there and nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import Any

from rnndrop.data.download import DownloadError, fetch, unpack
from rnndrop.data.files import read_lines
from rnndrop.data.published import FOLDER_VARIABLE, File, Published, cache_folder, find, keep, sound
from rnndrop.data.reviews import Rated, Reviews, assemble
from rnndrop.errors import RequestError
from rnndrop.paths import path_of

ARCHIVE = "scale_data.tar.gz"
CRITICS = {
    "Dennis+Schwartz": (
        "cb26f952c091c510c786627a45a5af3fb5c87a986f9aa3eb7eef6e4ed1797a02",
        "b9057227d5b1324f49d5f402f1cad0ae472f3d130f35a24a5334ab7db6726be7",
    ),
    "James+Berardinelli": (
        "1b612ca24494cc675f5e58c1fc320501446da2ed2520a00edb3522b565640658",
        "91abefa233432a2b92a82e0cb40706bd38e48e1ce4165e7a16584a6ec1dd8ed0",
    ),
    "Scott+Renshaw": (
        "c1b0b7b80fa4161053fee1125e7fb7bfba987fcfa08a8ab525504eff4c988cec",
        "cbe4f07da184e0c68a1051503c91c2474bb23c8d6b433e57d99dc2a8ae43760c",
    ),
    "Steve+Rhodes": (
        "33ef24625d183f6f9ecf03f356e055e9ff998ac7773f48939a364e9900bbf10a",
        "bbbe28efbe998827cfe2737a25d19977091a2deea141461eb8e241ce6f5bc03d",
    ),
}
"""Critic → sha256 of the reviews and of the ratings."""

MOVIE_REVIEWS = Published(
    "https://www.cs.cornell.edu/people/pabo/movie-review-data/",
    "movie-reviews",
    tuple(
        File(f"{name}/{part}.{name}", sha256)
        for name, both in CRITICS.items()
        for part, sha256 in zip(("subj", "rating"), both, strict=True)
    ),
)


def load(settings: Any) -> Reviews:
    """The reviews of `settings.name`, "movie_reviews" or "reviews" (`settings.file`), cut and split as `settings` say.

    Raises RequestError if a file is missing, differs from the published one, cannot be downloaded or is malformed.
    """
    return assemble(_own(settings.file) if settings.name == "reviews" else _published(settings.root), settings)


def _own(name: str | None) -> list[Rated]:
    """The reviews of a file with a line each: the rating, a tab, the text. Blank lines are skipped."""
    if not name:
        raise RequestError(
            "data=reviews needs your file: data.file=FILE, one review per line: the rating, a tab, the text."
        )
    path = path_of(name)
    lines = [(number, line) for number, line in enumerate(read_lines(path), 1) if line.strip()]
    return [_rated(*line.partition("\t")[::2], f"{path}, line {number}") for number, line in lines]


def _published(root: str | None) -> list[Rated]:
    """The movie reviews, critic after critic, each in the order of the files."""
    paths = locate(root)
    pairs = [(read_lines(ratings), read_lines(texts)) for texts, ratings in zip(paths[::2], paths[1::2], strict=True)]
    return [_rated(*each, "the movie reviews") for own in pairs for each in zip(*own, strict=True)]


def _rated(rating: str, text: str, where: str) -> Rated:
    try:
        value = float(rating)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise RequestError(f"{where}: {rating[:40]!r} is not a rating; a line is the rating, a tab, the text.")
    if not text.strip():
        raise RequestError(f"{where}: there is no text after the rating and a tab.")
    return value, text


def locate(root: str | None) -> list[Path]:
    """The eight checked files: below `root` or `RNNDROP_DATA`, else from the archive in the user's cache."""
    folder = root or os.environ.get(FOLDER_VARIABLE)
    where = path_of(folder) if folder else _downloaded()
    return [find(MOVIE_REVIEWS, file, where) for file in MOVIE_REVIEWS.files]


def _downloaded() -> Path:
    """The folder of the eight files in the user's cache, taken from the archive unless they are there already.

    The archive's own checksum is not known; it is unpacked in memory, and nothing but these eight files, each with its
    checksum, is kept.
    """
    cache, files = cache_folder() / MOVIE_REVIEWS.folder, {file.name: file for file in MOVIE_REVIEWS.files}
    if not all(sound(cache / name, file) for name, file in files.items()):
        try:
            found = unpack(fetch(MOVIE_REVIEWS.url + ARCHIVE), files)
            for name, content in found.items():
                if hashlib.sha256(content).hexdigest() != files[name].sha256:
                    raise DownloadError(f"its {name} is not the published file")
        except DownloadError as error:
            raise RequestError(
                f"{MOVIE_REVIEWS.url}{ARCHIVE} could not be fetched: {error}\n"
                f"Unpack it elsewhere, and name the folder that holds {', '.join(CRITICS)} with data.root=FOLDER or "
                f"the environment variable {FOLDER_VARIABLE}."
            ) from None
        for name, content in found.items():
            keep(cache / name, content)
    return cache
