"""The cells' steps and the way back through them, compiled by numba at their first call and kept on disk.

Each does in one pass what torch would do in a dozen operations. They take arrays of float32 or float64 from the `Trace`
of a cell, and products of that type or of bf16 (`value`); b counts the sequences, j the units. `feed` and `hold` are
those of `rnndrop.recurrent.memory_masks` as plain tuples, which reach compiled code sooner than named ones.

Where numba is not there (`AVAILABLE`) nothing of this is called. All of it is in this file: numba notices when the file
of a function changes, not those of what it calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any

import numpy as np

try:
    import numba
    from numba.core.caching import IndexDataCacheFile, NullCache
    from numba.extending import overload
except ImportError:
    numba = None  # type: ignore[assignment]

Array = Any  # of numpy, or a tuple with some
AVAILABLE = numba is not None
_kept: list[Any] = []  # the functions that are kept on disk
_REWRITES = {"contract", "nsz", "arcp"}  # of arithmetic: fused multiply-adds; a quotient as a product


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, to be compiled for the types of its arguments; without the lock of the interpreter while it runs."""
    if numba is None:
        return function
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": _REWRITES}
    try:
        made = numba.njit(**options, cache=True)(function)
    except RuntimeError:  # there is no folder to keep it in: it is compiled in each process
        return numba.njit(**options)(function)  # type: ignore[no-any-return]
    made._cache._cache_file.__class__ = _File
    _kept.append(made)
    return made  # type: ignore[no-any-return]


def compile_anew() -> None:
    """From now on, compile what is called in this process alone, and leave nothing on disk that might be damaged."""
    for each in _kept:
        with suppress(OSError):
            each._cache.flush()
        each._cache = NullCache()


if numba is not None:

    class _File(IndexDataCacheFile):  # type: ignore[misc]
        """What is kept of a function, under names and in an order that no other process and no kill turns into a lie.

        numba's own numbers the files of a source from 1 again when the source changes, and lists one before it writes
        it. Who looks in between, or after a kill, is given what the file held before: older code, or another type's.
        """

        def save(self: Any, key: Any, data: Any) -> None:
            of = repr((self._source_stamp, self._version, key))
            name = self._data_name(int(sha256(of.encode()).hexdigest()[:15], 16))
            self._save_data(name, data)
            self._save_index({**self._load_index(), key: name})


def tanh(x: Any) -> Any:
    """tanh(x), within 3e-7 in float32; NaN stays NaN."""
    return math.tanh(x)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)), within 2e-7 in float32; NaN stays NaN."""
    return 0.5 + 0.5 * math.tanh(0.5 * x)


def _tanh_float32(x: Any) -> Any:
    """A quotient of polynomials in x², with the coefficients of Eigen's `ptanh`; beyond ±9 it is ±1."""
    float32 = np.float32
    near = float32(-7.905) if x < float32(-7.905) else x
    near = float32(7.905) if near > float32(7.905) else near
    s = near * near
    above = s * float32(-2.76076847742355e-16) + float32(2.00018790482477e-13)
    above = s * above + float32(-8.60467152213735e-11)
    above = s * above + float32(5.12229709037114e-08)
    above = s * above + float32(1.48572235717979e-05)
    above = s * above + float32(6.37261928875436e-04)
    above = s * above + float32(4.89352455891786e-03)
    below = s * float32(1.19825839466702e-06) + float32(1.18534705686654e-04)
    below = s * below + float32(2.26843463243900e-03)
    below = s * below + float32(4.89352518554385e-03)
    y = near * above / below
    y = float32(-1) if x < float32(-9) else y
    return float32(1) if x > float32(9) else y


def _sigmoid_float32(x: Any) -> Any:
    half = np.float32(0.5)
    return half + half * tanh(half * x)


def _tanh_float64(x: Any) -> Any:
    return math.tanh(x)


def _sigmoid_float64(x: Any) -> Any:
    return 0.5 + 0.5 * math.tanh(0.5 * x)


def shrink(x: Any) -> Any:
    """exp(x) of an x ≤ 0, within 2e-7 of itself in float32, and 0 below -87; NaN stays NaN."""
    return math.exp(x)


def log1p(x: Any) -> Any:
    """log(1 + x) of 0 ≤ x ≤ 1, within 3e-7 of itself in float32; NaN stays NaN."""
    return math.log1p(x)


def _shrink_float32(x: Any) -> Any:
    """2^k · exp(r), |r| ≤ log(2)/2, with the polynomial of Cephes' `expf`; a large sum rounds to k in its last bits."""
    float32 = np.float32
    least, large = float32(-87), float32(12582912)
    near = least if x < least else x
    rounded = near * float32(1.44269504) + large
    k = rounded - large
    r = near - k * float32(0.693359375)
    r = r - k * float32(-2.12194440e-4)
    y = r * float32(1.9875691500e-4) + float32(1.3981999507e-3)
    y = y * r + float32(8.3334519073e-3)
    y = y * r + float32(4.1665795894e-2)
    y = y * r + float32(1.6666665459e-1)
    y = y * r + float32(5.0000001201e-1)
    y = y * r * r + r + float32(1)
    power = np.int32(np.float32(rounded).view(np.int32) - 0x4B400000 + 127 << 23).view(np.float32)
    return float32(0) if x < least else y * power


def _log1p_float32(x: Any) -> Any:
    """2 · artanh(w), w = x / (2 + x), as a polynomial in w²."""
    float32 = np.float32
    w = x / (float32(2) + x)
    s = w * w
    y = s * float32(2.8174657e-1) + float32(2.7961418e-1)
    y = y * s + float32(4.0024853e-1)
    y = y * s + float32(6.6666317e-1)
    y = y * s + float32(2)
    return y * w


def _shrink_float64(x: Any) -> Any:
    return math.exp(x)


def _log1p_float64(x: Any) -> Any:
    return math.log1p(x)


def value(x: Any) -> Any:
    """An element of a product: itself, or the float32 whose upper half are the bits of bf16 that an int16 holds."""
    return x


def put(array: Array, j: int, x: Any) -> None:
    """Write an element of the factor of a product; as bf16, rounded to even, where the array is of int16."""
    array[j] = x


def _value_itself(x: Any) -> Any:
    return x


def _value_of_bits(x: Any) -> Any:
    return np.int32(np.int32(x) << 16).view(np.float32)


def _put_itself(array: Array, j: int, x: Any) -> None:
    array[j] = x


def _put_bits(array: Array, j: int, x: Any) -> None:
    bits = np.float32(x).view(np.int32)
    array[j] = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16


if numba is not None:  # which of them compiled code calls

    @overload(tanh, jit_options={"fastmath": _REWRITES})
    def _tanh(x: Any) -> Callable[[Any], Any]:
        return _tanh_float32 if x == numba.types.float32 else _tanh_float64

    @overload(sigmoid, jit_options={"fastmath": _REWRITES})
    def _sigmoid(x: Any) -> Callable[[Any], Any]:
        return _sigmoid_float32 if x == numba.types.float32 else _sigmoid_float64

    @overload(shrink, jit_options={"fastmath": _REWRITES})
    def _shrink(x: Any) -> Callable[[Any], Any]:
        return _shrink_float32 if x == numba.types.float32 else _shrink_float64

    @overload(log1p, jit_options={"fastmath": _REWRITES})
    def _log1p(x: Any) -> Callable[[Any], Any]:
        return _log1p_float32 if x == numba.types.float32 else _log1p_float64

    @overload(value)
    def _value(x: Any) -> Callable[[Any], Any]:
        return _value_of_bits if x == numba.types.int16 else _value_itself

    @overload(put)
    def _put(array: Array, j: int, x: Any) -> Callable[[Array, int, Any], None]:
        return _put_bits if array.dtype == numba.types.int16 else _put_itself


@compiled
def _row(mask: Array, t: int, b: int) -> Array:
    """The row (H,) of a mask (T|1, B|1, H) at step `t` of sequence `b`."""
    return mask[min(t, len(mask) - 1), min(b, mask.shape[1] - 1)]


@compiled
def _hold_read(t: int, b: int, hold: Array, read: Array, kept: Array) -> None:
    """`hold` for a row: `read` (H,) comes in as the new memory, `kept` (T+1, B, H) has the previous one at `t`."""
    _, d, m = hold
    d_row, m_row, previous, now = _row(d, t, b), _row(m, t, b), kept[t, b], kept[t + 1, b]
    zero, one = read.dtype.type(0), read.dtype.type(1)
    for j in range(len(read)):
        held = d_row[j] * previous[j] + (one - d_row[j]) * read[j]  # what is held stays the same to the last bit
        now[j] = zero if m_row[j] == zero else held
        read[j] = m_row[j] * held


@compiled
def _gate(product: Array, b: int, g: int, batch: int, width: int) -> Array:
    """The row (H,) of a gate in a product (B, G·H), or (G·B, H) where each gate takes its own."""
    if product.shape[1] == width:
        return product[g * batch + b]
    return product[b, g * width : (g + 1) * width]


@compiled
def _feed(t: int, b: int, feed: Array, read: Array) -> None:
    """What the products of step `t + 1` take of a row of what is read of h (H,)."""
    _, fed, mask, gathers, taken = feed
    batch = fed.shape[1] // len(mask)
    for g in range(len(mask)):
        to, by = fed[t + 1, g * batch + b], _row(mask[g], t + 1, b)
        if gathers:
            for k in range(len(taken)):
                put(to, k, read[taken[k]] * by[taken[k]])
        else:
            for j in range(len(read)):
                put(to, j, read[j] * by[j])


@compiled
def _read_back(
    t: int, b: int, product: Array, output: Array, feed: Array, hold: Array, kept: Array, new: Array
) -> None:  # fmt: skip
    """The way back of a row through `_feed` and `_hold_read`.

    What is read of h has its gradient by `output` (T, B, H) and by what the next products take of it, `product`
    (G·B, K). `new` (H,) becomes the gradient of the new h; `kept` (B, H) comes in as that of what is kept, and leaves
    as that of the previous h.
    """
    _, _, mask, gathers, taken = feed
    holds, d, m = hold
    by_kept, batch, zero = kept[b], len(kept), new.dtype.type(0)
    by_output = output[t, b]
    for j in range(len(new)):
        new[j] = by_output[j]
    for g in range(len(mask)):
        by_product, by_feed = product[g * batch + b], _row(mask[g], t + 1, b)
        if gathers:
            for k in range(len(taken)):
                new[taken[k]] += value(by_product[k]) * by_feed[taken[k]]
        else:
            for j in range(len(new)):
                new[j] += value(by_product[j]) * by_feed[j]
    if holds:
        d_row, m_row = _row(d, t, b), _row(m, t, b)
        for j in range(len(new)):
            by = by_kept[j]
            held = m_row[j] * new[j] + (zero if m_row[j] == zero else by)
            by_kept[j] = d_row[j] * held
            new[j] = held - by_kept[j]
    else:
        for j in range(len(new)):
            new[j] += by_kept[j]
            by_kept[j] = zero


@compiled
def lstm_forward(
    t: int, product: Array, gates: Array, c: Array, tanh_c: Array, reads: Array, kept: Array, feed: Array,
    update: Array, hold_c: Array, hold_h: Array,
) -> None:  # fmt: skip
    """Step `t`, from U h' (B, 4·H), or (4·B, H) gate by gate."""
    _, batch, H = reads.shape
    for b in range(batch):
        by_i, by_f = _gate(product, b, 0, batch, H), _gate(product, b, 1, batch, H)
        by_g, by_o = _gate(product, b, 2, batch, H), _gate(product, b, 3, batch, H)
        new_c, new_h, by_update = c[t + 1, b], reads[t + 1, b], _row(update, t, b)
        _lstm_cell(gates[t, b], by_i, by_f, by_g, by_o, by_update, c[t, b], new_c, tanh_c[t, b], new_h)
        if hold_c[0]:
            _hold_c(c[t, b], c[t + 1, b], _row(hold_c[1], t, b), _row(hold_c[2], t, b))
        if hold_h[0]:
            _hold_read(t, b, hold_h, reads[t + 1, b], kept)
        if feed[0]:
            _feed(t, b, feed, reads[t + 1, b])


@compiled
def _lstm_cell(
    gates: Array, by_i: Array, by_f: Array, by_g: Array, by_o: Array, update: Array, c: Array, new_c: Array,
    tanh_c: Array, h: Array,
) -> None:  # fmt: skip
    """A row of a step, before any mask on a memory."""
    H = len(h)
    for j in range(H):
        i = sigmoid(gates[j] + value(by_i[j]))
        f = sigmoid(gates[H + j] + value(by_f[j]))
        g = tanh(gates[2 * H + j] + value(by_g[j]))
        o = sigmoid(gates[3 * H + j] + value(by_o[j]))
        gates[j], gates[H + j], gates[2 * H + j], gates[3 * H + j] = i, f, g, o
        new = f * c[j] + i * (g * update[j])
        new_c[j] = new
        tanh_c[j] = tanh(new)
        h[j] = o * tanh_c[j]


@compiled
def _hold_c(c: Array, new_c: Array, d: Array, m: Array) -> None:
    """`hold` of a row of c, of which what is kept alone matters."""
    zero, one = c.dtype.type(0), c.dtype.type(1)
    for j in range(len(c)):
        held = d[j] * c[j] + (one - d[j]) * new_c[j]
        new_c[j] = zero if m[j] == zero else held


@compiled
def lstm_backward(
    t: int, product: Array, output: Array, to_gates: Array, to_h: Array, to_c: Array, gates: Array, c: Array,
    tanh_c: Array, feed: Array, update: Array, hold_c: Array, hold_h: Array,
) -> None:  # fmt: skip
    """Back through step `t`: to_h and to_c (B, H) come in as the gradients of the memory after it and leave as those of
    the memory before it, without what U h' takes of h."""
    h, carried = np.empty_like(to_h[0]), np.empty_like(to_h[0])
    for b in range(len(to_h)):
        _read_back(t, b, product, output, feed, hold_h, to_h, h)
        if hold_c[0]:
            _hold_c_back(to_c[b], carried, _row(hold_c[1], t, b), _row(hold_c[2], t, b))
        _lstm_cell_back(gates[t, b], _row(update, t, b), c[t, b], tanh_c[t, b], h, to_gates[t, b], to_c[b])
        if hold_c[0]:
            to_c[b] += carried


@compiled
def _lstm_cell_back(
    gates: Array, update: Array, c: Array, tanh_c: Array, to_h: Array, to_gates: Array, to_c: Array
) -> None:  # fmt: skip
    """A row of a step's way back; `to_c` comes in as the gradient of c after it, leaves as that of c before it."""
    H, one = len(to_h), to_h.dtype.type(1)
    for j in range(H):
        i, f, g, o = gates[j], gates[H + j], gates[2 * H + j], gates[3 * H + j]
        new = to_c[j] + to_h[j] * o * (one - tanh_c[j] * tanh_c[j])
        masked = new * update[j]
        put(to_gates, j, masked * g * i * (one - i))
        put(to_gates, H + j, new * c[j] * f * (one - f))
        put(to_gates, 2 * H + j, masked * i * (one - g * g))
        put(to_gates, 3 * H + j, to_h[j] * tanh_c[j] * o * (one - o))
        to_c[j] = new * f


@compiled
def _hold_c_back(kept: Array, carried: Array, d: Array, m: Array) -> None:
    """Of the gradient of c as it is kept, what is that of the new c, left in `kept`, and of the previous one."""
    zero = kept.dtype.type(0)
    for j in range(len(kept)):
        held = kept[j]
        held = zero if m[j] == zero else held
        carried[j] = d[j] * held
        kept[j] = held - carried[j]


@compiled
def gru_forward(
    t: int, product: Array, gates: Array, candidate: Array, reads: Array, kept: Array, feed: Array, update: Array,
    hold: Array,
) -> None:  # fmt: skip
    """Step `t`, from U h' and bias_hh (B, 3·H), or (3·B, H) gate by gate."""
    _, batch, H = reads.shape
    for b in range(batch):
        by_r, by_z, by_n = (
            _gate(product, b, 0, batch, H),
            _gate(product, b, 1, batch, H),
            _gate(product, b, 2, batch, H),
        )
        by_update, previous = _row(update, t, b), kept[t, b]
        _gru_cell(gates[t, b], by_r, by_z, by_n, by_update, previous, candidate[t, b], reads[t + 1, b])
        if hold[0]:
            _hold_read(t, b, hold, reads[t + 1, b], kept)
        if feed[0]:
            _feed(t, b, feed, reads[t + 1, b])


@compiled
def _gru_cell(
    gates: Array, by_r: Array, by_z: Array, by_n: Array, update: Array, previous: Array, candidate: Array, h: Array
) -> None:  # fmt: skip
    """A row of a step, before any mask on the memory."""
    H = len(h)
    for j in range(H):
        r = sigmoid(gates[j] + value(by_r[j]))
        z = sigmoid(gates[H + j] + value(by_z[j]))
        candidate[j] = value(by_n[j])
        n = tanh(gates[2 * H + j] + r * candidate[j])
        gates[j], gates[H + j], gates[2 * H + j] = r, z, n
        n *= update[j]
        h[j] = n + z * (previous[j] - n)


@compiled
def gru_backward(
    t: int, product: Array, output: Array, to_input: Array, to_state: Array, to_h: Array, gates: Array,
    candidate: Array, kept: Array, feed: Array, update: Array, hold: Array,
) -> None:  # fmt: skip
    """Back through step `t`: to_h (B, H) comes in as the gradient of the memory after it and leaves as that of the
    memory before it, without what U h' takes of it."""
    h = np.empty_like(to_h[0])
    for b in range(len(to_h)):
        _read_back(t, b, product, output, feed, hold, to_h, h)
        _gru_cell_back(
            gates[t, b], _row(update, t, b), candidate[t, b], kept[t, b], h, to_input[t, b], to_state[t, b], to_h[b]
        )


@compiled
def _gru_cell_back(
    gates: Array, update: Array, candidate: Array, previous: Array, new: Array, to_input: Array, to_state: Array,
    to_h: Array,
) -> None:  # fmt: skip
    """A row of a step's way back, from the gradient of the new h; what z carries on is added to `to_h`."""
    H, one = len(new), new.dtype.type(1)
    for j in range(H):
        r, z, n = gates[j], gates[H + j], gates[2 * H + j]
        to_n = new[j] * (one - z) * update[j] * (one - n * n)
        to_r = to_n * candidate[j] * r * (one - r)
        to_z = new[j] * (previous[j] - n * update[j]) * z * (one - z)
        put(to_input, j, to_r)
        put(to_input, H + j, to_z)
        put(to_input, 2 * H + j, to_n)
        put(to_state, j, to_r)
        put(to_state, H + j, to_z)
        put(to_state, 2 * H + j, to_n * r)
        to_h[j] += new[j] * z


@compiled
def rnn_forward(t: int, product: Array, gates: Array, reads: Array, kept: Array, feed: Array, hold: Array) -> None:
    """Step `t`, from U h' (B, H)."""
    for b in range(reads.shape[1]):
        gate, by_state, read = gates[t, b], product[b], reads[t + 1, b]
        for j in range(len(gate)):
            gate[j] = tanh(gate[j] + value(by_state[j]))
            read[j] = gate[j]
        if hold[0]:
            _hold_read(t, b, hold, read, kept)
        if feed[0]:
            _feed(t, b, feed, read)


@compiled
def rnn_backward(
    t: int, product: Array, output: Array, to_gates: Array, to_h: Array, gates: Array, feed: Array, hold: Array
) -> None:  # fmt: skip
    """Back through step `t`: to_h (B, H) comes in as the gradient of the memory after it and leaves as that of the
    memory before it, without what U h' takes of it."""
    h, one = np.empty_like(to_h[0]), output.dtype.type(1)
    for b in range(len(to_h)):
        gate, to_gate = gates[t, b], to_gates[t, b]
        _read_back(t, b, product, output, feed, hold, to_h, h)
        for j in range(len(gate)):
            put(to_gate, j, h[j] * (one - gate[j] * gate[j]))


@compiled
def slstm_forward(
    t: int, product: Array, gates: Array, slip: Array, scaled: Array, ahead: Array, reads: Array, kept: Array,
    feed: Array, update: Array, hold_c: Array, hold_scaled: Array, hold_h: Array,
) -> None:  # fmt: skip
    """Step `t`, from U h' (B, 4·H), or (4·B, H) gate by gate."""
    _, batch, H = reads.shape
    for b in range(batch):
        by_i, by_f = _gate(product, b, 0, batch, H), _gate(product, b, 1, batch, H)
        by_z, by_o = _gate(product, b, 2, batch, H), _gate(product, b, 3, batch, H)
        before, after, new_h, by_update = scaled[t, b], scaled[t + 1, b], reads[t + 1, b], _row(update, t, b)
        _slstm_cell(gates[t, b], by_i, by_f, by_z, by_o, by_update, before, after, slip[t, b], new_h)
        if hold_c[0]:
            _hold_c(before[:H], after[:H], _row(hold_c[1], t, b), _row(hold_c[2], t, b))
        if hold_scaled[0]:
            _hold_scaled(before, after, _row(hold_scaled[1], t, b), ahead[t, b])
        if hold_h[0]:
            _hold_read(t, b, hold_h, reads[t + 1, b], kept)
        if feed[0]:
            _feed(t, b, feed, reads[t + 1, b])


@compiled
def _factors(ratio: Any, lead: Any, filled: bool) -> Any:
    """What the new and the old count for, of which one counts 1 and the other `ratio`: the old if it leads.

    Where nothing is in the old (not `filled`) the new counts 1 too.
    """
    zero, one = type(lead)(0), type(lead)(1)
    return ratio if lead > zero and filled else one, one if lead >= zero else ratio


@compiled
def _share(lead: Any, filled: bool) -> Any:
    """The old one's part of the gradient of max(old, new), from old - new: a half where they are equal, as in torch."""
    zero, one = type(lead)(0), type(lead)(1)
    share = one if lead > zero else zero
    share = type(lead)(0.5) if lead == zero else share
    return share if filled else zero


@compiled
def _slstm_cell(
    gates: Array, by_i: Array, by_f: Array, by_z: Array, by_o: Array, update: Array, before: Array, after: Array,
    slip: Array, h: Array,
) -> None:  # fmt: skip
    """A row of a step, before any mask on a memory; `before` and `after` are c, n and their log scale, (3·H,)."""
    H = len(h)
    zero, one = h.dtype.type(0), h.dtype.type(1)
    for j in range(H):
        log_i = gates[j] + value(by_i[j])
        to_f = gates[H + j] + value(by_f[j])
        z = tanh(gates[2 * H + j] + value(by_z[j]))
        o = sigmoid(gates[3 * H + j] + value(by_o[j]))
        small = shrink(-abs(to_f))
        log_f = (to_f if to_f < zero else zero) - log1p(small) + before[2 * H + j]
        slip[j] = (one if to_f < zero else small) / (one + small)
        lead, filled = log_f - log_i, before[H + j] != zero
        ratio = shrink(-abs(lead))
        i, f = _factors(ratio, lead, filled)
        c, n = f * before[j] + i * (z * update[j]), f * before[H + j] + i
        after[j], after[H + j], after[2 * H + j] = c, n, log_f if lead > zero and filled else log_i
        gates[j], gates[H + j], gates[2 * H + j], gates[3 * H + j] = ratio, lead, z, o
        h[j] = o * c / n


@compiled
def _hold_scaled(before: Array, after: Array, d: Array, ahead: Array) -> None:
    """d · before + (1-d) · after of c and n, (3·H,) with their log scale, on one scale: that of what counts."""
    H = len(d)
    zero, one = d.dtype.type(0), d.dtype.type(1)
    for j in range(H):
        c_old, n_old, of_old = before[j], before[H + j], before[2 * H + j]
        c, n, of_new, weight = after[j], after[H + j], after[2 * H + j], d[j]
        lead, filled = of_old - of_new, n_old != zero
        new, old = _factors(shrink(-abs(lead)), lead, filled)
        scale = of_old if lead > zero and filled else of_new
        if weight == one:
            old, scale = one, of_old
        elif weight == zero:
            new, scale = one, of_new
        new, old = (one - weight) * new, weight * old
        ahead[j] = lead
        after[j], after[H + j], after[2 * H + j] = old * c_old + new * c, old * n_old + new * n, scale


@compiled
def slstm_backward(
    t: int, product: Array, output: Array, to_gates: Array, to_h: Array, to_scaled: Array, gates: Array, slip: Array,
    scaled: Array, ahead: Array, feed: Array, update: Array, hold_c: Array, hold_scaled: Array, hold_h: Array,
) -> None:  # fmt: skip
    """Back through step `t`: to_h (B, H) and to_scaled (B, 3·H) come in as the gradients of the memory after it and
    leave as those of the memory before it, without what U h' takes of h."""
    H = output.shape[2]
    h, carried = np.empty_like(to_h[0]), np.empty_like(to_scaled[0])
    for b in range(len(to_h)):
        to_row, by_update = to_scaled[b], _row(update, t, b)
        _read_back(t, b, product, output, feed, hold_h, to_h, h)
        if hold_c[0]:  # of zeros alone: nothing is carried
            _hold_c_back(to_row[:H], carried[:H], _row(hold_c[1], t, b), _row(hold_c[2], t, b))
        if hold_scaled[0]:
            d = _row(hold_scaled[1], t, b)
            _hold_scaled_back(gates[t, b], by_update, scaled[t, b], d, ahead[t, b], to_row, carried)
        _slstm_cell_back(gates[t, b], by_update, scaled[t, b], slip[t, b], h, to_gates[t, b], to_row)
        if hold_scaled[0]:
            to_row += carried


@compiled
def _hold_scaled_back(
    gates: Array, update: Array, before: Array, d: Array, ahead: Array, kept: Array, carried: Array
) -> None:  # fmt: skip
    """Of the gradient of c, n and their scale as kept, what is that of the new, left in `kept`, and of the previous."""
    H = len(d)
    zero, one = d.dtype.type(0), d.dtype.type(1)
    for j in range(H):
        c_old, n_old, lead = before[j], before[H + j], ahead[j]
        filled = n_old != zero
        i, f = _factors(gates[j], gates[H + j], filled)
        c, n = f * c_old + i * (gates[2 * H + j] * update[j]), f * n_old + i
        new, old = _factors(shrink(-abs(lead)), lead, filled)
        share = _share(lead, filled)
        if d[j] == one:
            old, share = one, one
        elif d[j] == zero:
            new, share = one, zero
        new, old = (one - d[j]) * new, d[j] * old
        by_c, by_n, by_scale = kept[j], kept[H + j], kept[2 * H + j]
        kept[j], kept[H + j] = new * by_c, new * by_n
        carried[j], carried[H + j] = old * by_c, old * by_n
        by_new = new * (by_c * c + by_n * n)
        by_old = old * (by_c * c_old + by_n * n_old)
        by_old = by_old if filled or lead <= zero or d[j] == one else zero  # as where f is held at 1
        by_scale -= by_new + by_old
        kept[2 * H + j] = by_new + (one - share) * by_scale
        carried[2 * H + j] = by_old + share * by_scale


@compiled
def _slstm_cell_back(
    gates: Array, update: Array, before: Array, slip: Array, to_h: Array, to_gates: Array, to_scaled: Array
) -> None:  # fmt: skip
    """A row of a step's way back; `to_scaled` (3·H,) comes in as the gradient of c, n and their scale after it."""
    H = len(to_h)
    zero, one = to_h.dtype.type(0), to_h.dtype.type(1)
    for j in range(H):
        lead, z, o, c_old, n_old = gates[H + j], gates[2 * H + j], gates[3 * H + j], before[j], before[H + j]
        filled = n_old != zero
        i, f = _factors(gates[j], lead, filled)
        masked = z * update[j]
        c, n = f * c_old + i * masked, f * n_old + i
        quotient = c / n
        by_c = to_h[j] * o / n
        by_n = to_scaled[H + j] - by_c * quotient
        by_c += to_scaled[j]
        by_i = i * (by_c * masked + by_n)
        by_f = f * (by_c * c_old + by_n * n_old)
        by_f = by_f if filled or lead <= zero else zero  # where f is held at 1
        by_scale = to_scaled[2 * H + j] - by_i - by_f
        share = _share(lead, filled)
        by_i += (one - share) * by_scale
        by_f += share * by_scale
        put(to_gates, j, by_i)
        put(to_gates, H + j, by_f * slip[j])
        put(to_gates, 2 * H + j, by_c * i * update[j] * (one - z * z))
        put(to_gates, 3 * H + j, to_h[j] * quotient * o * (one - o))
        to_scaled[j], to_scaled[H + j], to_scaled[2 * H + j] = by_c * f, by_n * f, by_f


@compiled
def scan_forward(keep: Array, add: Array, h: Array) -> None:
    """h[t+1] = keep[t] · h[t] + add[t] for all t, from h[0]; keep and add are (T, N), h is (T+1, N)."""
    for t in range(len(keep)):
        by, new, previous, now = keep[t], add[t], h[t], h[t + 1]
        for j in range(len(by)):
            now[j] = by[j] * previous[j] + new[j]


@compiled
def scan_backward(keep: Array, h: Array, to_keep: Array, to_add: Array, to_first: Array) -> None:
    """The way back of `scan_forward`: `to_add` (T, N) comes in as the gradient of h[1:] and leaves as that of add."""
    for t in range(len(keep) - 1, -1, -1):
        by, previous, to_by, to_new = keep[t], h[t], to_keep[t], to_add[t]
        for j in range(len(by)):
            new = to_new[j] + to_first[j]
            to_new[j] = new
            to_by[j] = new * previous[j]
            to_first[j] = new * by[j]
