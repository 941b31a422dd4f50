"""The compiled steps: their functions, and what happens where numba cannot compile or is not there.

That they equal the plain recurrence is in test_sequence.py.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rnndrop
from rnndrop.recurrent import engine, kernels
from rnndrop.recurrent.kernels import log1p, put, shrink, sigmoid, tanh, value
from tests.recurrent.cases import drawn

numba = pytest.importorskip("numba")
caching = pytest.importorskip("numba.core.caching")
CPU = torch.device("cpu")
MASKED = {"recurrent": {"kind": "locked", "p": 0.5}, "cell": {"kind": "zoneout", "p": 0.3}}
TINY = ["data=text", "trainer.epochs=1", "model.hidden=16", "trainer.device=cpu", "dropout=variational"]


@pytest.fixture
def asked_anew() -> Iterator[None]:
    engine.compiles.cache_clear()
    yield
    engine.compiles.cache_clear()


def applied(function: Any, x: np.ndarray) -> np.ndarray:
    @numba.njit  # type: ignore[untyped-decorator]
    def each(x: Any) -> Any:
        out = np.empty_like(x)
        for i in range(len(x)):
            out[i] = function(x[i])
        return out

    return each(x)


@pytest.mark.parametrize(("dtype", "within"), [(np.float32, 4e-7), (np.float64, 1e-15)])
def test_tanh_and_sigmoid(dtype: Any, within: float) -> None:
    x = np.concatenate([np.linspace(-30, 30, 20_001), [1e-30, -1e-8, 3e38, -3e38, np.inf, -np.inf]]).astype(dtype)
    exact = x.astype(np.float64)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(applied(sigmoid, x), 1 / (1 + np.exp(-exact)), rtol=0, atol=within)
    np.testing.assert_allclose(applied(tanh, x), np.tanh(exact), rtol=within, atol=0)  # near 0 too
    np.testing.assert_array_equal(applied(sigmoid, np.array([40, -80], dtype)), [1, 0])  # a gate can be open, or shut
    assert np.isnan(applied(tanh, np.array([np.nan], dtype))).all()
    assert np.isnan(applied(sigmoid, np.array([np.nan], dtype))).all()


@pytest.mark.parametrize(("dtype", "within"), [(np.float32, 4e-7), (np.float64, 1e-15)])
def test_exponential_and_logarithm(dtype: Any, within: float) -> None:
    x = np.concatenate([np.linspace(0, 1, 20_001), [1e-30, 1e-8]]).astype(dtype)
    np.testing.assert_allclose(applied(log1p, x), np.log1p(x.astype(np.float64)), rtol=within, atol=0)
    np.testing.assert_allclose(applied(shrink, -86 * x), np.exp(-86 * x), rtol=within, atol=0)
    np.testing.assert_array_equal(applied(shrink, np.array([0, -1e-30, -800, -np.inf], dtype)), [1, 1, 0, 0])
    for function in (log1p, shrink):
        assert np.isnan(applied(function, np.array([np.nan], dtype))).all()


def test_bf16_is_read_and_written_as_torch_does() -> None:
    @numba.njit  # type: ignore[untyped-decorator]
    def written(x: Any, bits: Any, back: Any) -> None:
        for j in range(len(x)):
            put(bits, j, x[j])
            back[j] = value(bits[j])

    odd = [0.0, -0.0, 1.00390625, 1.01171875, 3.3e38, 1e-40, np.inf, -np.inf]  # the second and third are halfway
    x = np.concatenate([np.random.default_rng(0).normal(size=1000), odd]).astype(np.float32)
    bits, back = np.empty(len(x), np.int16), np.empty_like(x)
    written(x, bits, back)
    truth = torch.from_numpy(x).bfloat16()
    assert torch.equal(torch.from_numpy(bits).view(torch.bfloat16), truth) and np.array_equal(
        back, truth.float().numpy()
    )


@pytest.mark.usefixtures("asked_anew")
def test_without_numba_a_run_goes_on_in_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "text.txt").write_text("to be or not to be\n" * 40)
    asked = [*TINY, f"data.file={tmp_path}/text.txt"]
    with caplog.at_level(logging.INFO, "rnndrop"):
        one = rnndrop.run([*asked, f"output={tmp_path}/compiled"])
        engine.compiles.cache_clear()
        monkeypatch.setattr(kernels, "AVAILABLE", False)
        other = rnndrop.run([*asked, f"output={tmp_path}/plain"])
    assert one.model["paths"][0].startswith("compiled") and other.model["paths"][0] == "unrolled"
    assert other.metrics["test_perplexity"] == pytest.approx(one.metrics["test_perplexity"], rel=1e-4)
    assert "numba is not installed" in caplog.text and "pip install numba" in caplog.text


@pytest.mark.usefixtures("asked_anew")
def test_where_numba_fails_a_run_goes_on_in_torch(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rnndrop.recurrent.lstm.lstm_forward", full)
    assert engine.path("lstm", drawn("lstm", MASKED), CPU) == "unrolled"
    assert "lstm" in caplog.text and "No space left on device" in caplog.text


@pytest.mark.usefixtures("asked_anew")
def test_a_long_compilation_is_spoken_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(engine, "_LONG", 0.01)
    monkeypatch.setattr(engine, "_step_and_back", lambda spec: time.sleep(0.5))
    with caplog.at_level(logging.INFO, "rnndrop"):
        for _ in range(2):
            engine.path("gru", drawn("gru", MASKED), CPU)
    assert caplog.text.count("Compiling the steps of gru") == 1


COMPILES = "from rnndrop.recurrent import engine\nassert engine.compiles('rnn', bf16=False)\n"


def in_python(script: str, folder: Path) -> str:
    """What a new process says on stderr; it keeps what it compiles in `folder`."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.e2e
def test_where_nothing_can_be_kept_on_disk_it_is_compiled_each_time(tmp_path: Path) -> None:
    """As where neither the package's folder nor the home of the user can be written, and on a full disk."""
    in_python(f"from numba.core.caching import CacheImpl\nCacheImpl._locator_classes = []\n{COMPILES}", tmp_path)
    full = "def full(*arguments):\n    raise OSError(28, 'No space left on device')\n"
    patched = "from numba.core.caching import IndexDataCacheFile\nIndexDataCacheFile._save_data = full\n"
    in_python(full + patched + COMPILES, tmp_path)


@pytest.mark.e2e
@pytest.mark.parametrize("ending", [".nbi", ".nbc"])
def test_what_is_damaged_on_disk_is_compiled_anew(tmp_path: Path, ending: str) -> None:
    counted = "from rnndrop.recurrent import kernels\nassert sum(kernels.rnn_forward.stats.cache_hits.values()) == 1\n"
    in_python(COMPILES, tmp_path)
    in_python(COMPILES + counted, tmp_path)
    assert [path for path in tmp_path.rglob(f"*{ending}") if path.write_bytes(b"damaged")]
    in_python(COMPILES, tmp_path)  # without it
    in_python(COMPILES, tmp_path)  # kept again
    in_python(COMPILES + counted, tmp_path)


TOY = "from rnndrop.recurrent.kernels import compiled\n@compiled\ndef more(x):\n    return x + {}\n"


def toy(folder: Path, added: int) -> Any:
    """`more` of a new source, as a new process has it."""
    (folder / "toy.py").write_text(TOY.format(added))
    os.utime(folder / "toy.py", (added, added))
    names: dict[str, Any] = {}
    exec(compile((folder / "toy.py").read_text(), folder / "toy.py", "exec"), names)
    return names["more"]


@pytest.mark.parametrize("at", [1, 2])
def test_a_kill_between_what_is_kept_and_its_index_brings_no_older_code_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    assert toy(tmp_path, 1)(1) == 2
    writes = []
    with monkeypatch.context() as patch:
        write = caching.IndexDataCacheFile._open_for_write

        def killed(file: Any, path: str) -> Any:
            writes.append(path)
            if len(writes) == at:
                raise KeyboardInterrupt
            return write(file, path)

        patch.setattr(caching.IndexDataCacheFile, "_open_for_write", killed)
        with pytest.raises(KeyboardInterrupt):
            toy(tmp_path, 2)(1)
    assert len(writes) == at
    again = toy(tmp_path, 2)
    assert again(1) == 3 and not again.stats.cache_hits
    once_more = toy(tmp_path, 2)
    assert once_more(1) == 3 and once_more.stats.cache_hits


def test_what_is_kept_for_two_types_at_once_is_not_mixed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes that see nothing kept yet, and write by turns."""
    with monkeypatch.context() as patch:
        patch.setattr(caching.IndexDataCacheFile, "_load_index", lambda file: {})
        assert toy(tmp_path, 1)(1) == 2 and toy(tmp_path, 1)(0.5) == 1.5
    assert len(list(tmp_path.rglob("*.nbc"))) == 2
    kept = toy(tmp_path, 1)
    assert kept(0.5) == 1.5 and kept.stats.cache_hits
    assert kept(1) == 2
