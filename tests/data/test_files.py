"""A text is the same however its blocks fall, and the memory that it needs stays near its size."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as checks
from hypothesis import strategies as st

from rnndrop.data import files, text
from rnndrop.data.files import Text, read_lines
from rnndrop.data.vocabulary import tokens_in, tokens_of
from rnndrop.errors import RequestError

ROOT = Path(__file__).parents[2]
TEXTS = st.text(st.sampled_from("ab é😀\u2028\u3000\t\n\r\ufeff"), min_size=1, max_size=30).filter(
    lambda content: content.removeprefix("\ufeff").strip()
)


def lines_of(content: str) -> list[str]:
    """The lines of a text that is in memory as a whole."""
    content = content.removeprefix("\ufeff").replace("\r\n", "\n")
    if "\n" not in content:
        content = content.replace("\r", "\n")
    return content.removesuffix("\n").split("\n")


@given(content=TEXTS, block=st.integers(2, 7), level=st.sampled_from(["word", "char"]), data=st.data())
@checks(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_blocks_do_not_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, block: int, level: str, data: st.DataObject
) -> None:
    path, lines = tmp_path / "text", lines_of(content)
    path.write_bytes(content.encode())
    monkeypatch.setattr(files, "BLOCK", block)
    found = Text.of(path)
    assert found.lines == len(lines) and read_lines(path) == lines
    first = data.draw(st.integers(0, len(lines)))
    end = data.draw(st.integers(first, len(lines)))
    assert list(tokens_in(found.part(first, end), level)) == tokens_of(lines[first:end], level)


def test_an_error_is_where_the_file_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK", 4)
    for content in ("äöü ß".encode() + b"\xe9 au lait", "äöü ßt".encode() + "é".encode()[:1]):
        (tmp_path / "latin").write_bytes(content)
        with pytest.raises(UnicodeDecodeError) as whole:
            content.decode("utf-8")
        with pytest.raises(RequestError, match=f"{whole.value.reason} at byte {whole.value.start}"):
            read_lines(tmp_path / "latin")


@pytest.mark.parametrize("level", ["word", "char"])
@pytest.mark.parametrize("end", ["\n", " "])
def test_blocks_do_not_show_in_the_corpus(
    settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, end: str
) -> None:
    number = random.Random(0)
    (tmp_path / "text").write_text(
        "".join(f"{number.choice('abcdé') * 3}{number.choice(' ' + end)}" for _ in range(500))
    )
    asked = settings("text", file=str(tmp_path / "text"), level=level, min_count=2)
    whole = text.load(asked).fingerprint()
    monkeypatch.setattr(files, "BLOCK", 5)
    assert text.load(asked).fingerprint() == whole


@pytest.mark.e2e
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="there is no /proc here")
@pytest.mark.parametrize("level", ["word", "char"])
@pytest.mark.parametrize("lines", ["lines", "one line"])
def test_memory_stays_near_the_size_of_the_text(tmp_path: Path, level: str, lines: str) -> None:
    number = random.Random(0)
    words = [f"word{rank}" for rank in range(10_000)]
    chosen = number.choices(words, [1 / (rank + 1) for rank in range(len(words))], k=50_000)
    end = "\n" if lines == "lines" else " "
    piece = "".join(word + (end if place % 20 == 0 else " ") for place, word in enumerate(chosen))
    (tmp_path / "text").write_text(piece * (10_000_000 // len(piece)))
    command = [sys.executable, ROOT / "scripts" / "corpus_memory.py", tmp_path / "text", "--level", level]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    times = [float(found) for found in re.findall(r"at ([\d.]+) times", done.stdout)]
    assert len(times) == 2 and max(times) < 4, done.stdout
