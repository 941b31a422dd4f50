"""The language model once more, from the equations alone: loops, no shared code, every mask at full size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from rnndrop.dropout.masks import Masks, WeightNoise
from rnndrop.models.language_model import LanguageModel


def logits(model: LanguageModel, tokens: Tensor, masks: Masks) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """Logits (T, B, V) from the zero state, and the memories that each layer carries to the next window."""
    batch = tokens.shape[1]
    vocabulary, width = model.embedding.shape
    types = torch.ones(batch, vocabulary, width, dtype=torch.float64)
    types = types if masks.embedding is None else types * masks.embedding
    x = torch.stack(
        [torch.stack([model.embedding[w] * types[b, w] for b, w in enumerate(row)]) for row in tokens.tolist()]
    )
    carried = []
    for depth, (layer, mask) in enumerate(zip(model.layers, masks.layers, strict=True)):
        h, memory = _layer(model.cell, layer, x, mask)
        carried.append(memory)
        runs = torch.ones(len(model.layers), batch) * (1 if masks.layer is None else masks.layer)
        x = torch.where(runs[depth].bool().view(1, batch, 1), h, x)
    if masks.output is not None:
        x = x * masks.output
    decoder = weight(model.embedding if model.decoder is None else model.decoder, masks.weight_decoder)
    return x @ decoder.T + model.decoder_bias, carried


def weight(w: Tensor, mask: Any) -> Tensor:
    """A weight under its mask."""
    if not isinstance(mask, WeightNoise):
        return w if mask is None else w * mask
    if mask.start is not None:
        m = mask.scale * torch.ones_like(w)
        return m * w + (1 - m) * mask.start
    if mask.smallest is not None:
        count = max(1, round(mask.smallest * w.shape[-1]))
        low = torch.sort(w.detach().abs(), -1).values[..., count - 1 : count]
        return torch.where(w.detach().abs() <= low, w * mask.scale, w)
    return w * (1 if mask.scale is None else mask.scale) + (0 if mask.shift is None else mask.shift)


def _layer(cell: str, layer: Any, x: Tensor, masks: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    steps, batch, _ = x.shape
    hidden = layer.weight_hh.shape[1]
    gates = layer.weight_ih.shape[0] // hidden
    split = lambda w: w.reshape(gates, hidden, *w.shape[1:])  # noqa: E731
    linear = len(layer.bias_hh) == 0  # no gate takes h
    W, b = weight(split(layer.weight_ih), masks.weight_ih), split(layer.bias_ih)
    U, a = (None, None) if linear else (weight(split(layer.weight_hh), masks.weight_hh), split(layer.bias_hh))

    def at(mask: Tensor | None, t: int, *shape: int) -> Tensor:
        full = torch.ones(steps, *shape, dtype=torch.float64)
        return (full if mask is None else full * mask)[t]

    def held(mask: Any, t: int, new: Tensor, old: Tensor) -> Tensor:
        """What zoneout makes of a new memory; without it the new one."""
        if mask is None or not mask.previous:
            return new
        d = at(mask.values, t, batch, hidden)
        return torch.where(d == 1, old, torch.where(d == 0, new, d * old + (1 - d) * new))

    def noise(mask: Any, t: int) -> tuple[Tensor, Tensor]:
        """Of a mask that zeroes: 0 where it does and 1 elsewhere, and its values."""
        m = at(None if mask is None or mask.previous else mask.values, t, batch, hidden)
        return torch.where(m == 0, torch.zeros_like(m), torch.ones_like(m)), m

    h = c = n = read = torch.zeros(batch, hidden, dtype=torch.float64)
    out = []
    for t in range(steps):
        mx = at(masks.input, t, batch, gates, x.shape[2])
        mh = at(masks.recurrent, t, batch, gates, hidden)
        mg = at(masks.update, t, batch, hidden)
        gx = [(x[t] * mx[:, k]) @ W[k].T + b[k] for k in range(gates)]
        gh = [] if U is None or a is None else [(read * mh[:, k]) @ U[k].T + a[k] for k in range(gates)]
        if cell == "lstm":
            i, f, o = (torch.sigmoid(gx[k] + gh[k]) for k in (0, 1, 3))
            g = mg * torch.tanh(gx[2] + gh[2])
            new = f * c + i * g
            b_c, m_c = noise(masks.cell, t)
            b_h, m_h = noise(masks.state, t)
            c = b_c * held(masks.cell, t, new, c)
            h = held(masks.state, t, o * torch.tanh(new), h)  # of the candidate c, also under zoneout
            h, read = b_c * b_h * h, m_c * m_h * h
        elif cell == "slstm":  # as it stands in (8) to (14), without its stabiliser
            i, z = torch.exp(gx[0] + gh[0]), mg * torch.tanh(gx[2] + gh[2])
            f, o = torch.sigmoid(gx[1] + gh[1]), torch.sigmoid(gx[3] + gh[3])
            new, new_n = f * c + i * z, f * n + i
            b_c, m_c = noise(masks.cell, t)
            b_h, m_h = noise(masks.state, t)
            c, n = b_c * held(masks.cell, t, new, c), held(masks.cell, t, new_n, n)
            h = held(masks.state, t, o * new / new_n, h)
            h, read = b_c * b_h * h, m_c * m_h * h
        elif cell == "qrnn":
            z, f, o = mg * torch.tanh(gx[0]), torch.sigmoid(gx[1]), torch.sigmoid(gx[2])
            b_c, m_c = noise(masks.cell, t)
            h = held(masks.cell, t, f * h + (1 - f) * z, h)  # its c
            h, read = b_c * h, o * m_c * h
        else:
            if cell == "mingru":
                z = torch.sigmoid(gx[0])
                new = (1 - z) * h + z * mg * gx[1]
            elif cell == "minlstm":
                f, i = torch.sigmoid(gx[0]), torch.sigmoid(gx[1])
                new = (f * h + i * mg * gx[2]) / (f + i)
            elif cell == "rglru":
                r, i = torch.sigmoid(gx[0]), torch.sigmoid(gx[1])
                power = torch.sigmoid(layer.weight_hh[0]) ** (8 * r)
                new = power * h + torch.sqrt(1 - power**2) * i * mg * gx[2]
            elif cell == "gru_before":
                r, z = (torch.sigmoid(gx[k] + gh[k]) for k in (0, 1))
                late = (r * read * mh[:, 2]) @ U[2].T + a[2]  # type: ignore[index]
                new = (1 - z) * mg * torch.tanh(gx[2] + late) + z * h
            elif cell == "gru":
                r, z = (torch.sigmoid(gx[k] + gh[k]) for k in (0, 1))
                new = (1 - z) * mg * torch.tanh(gx[2] + r * gh[2]) + z * h
            else:
                new = torch.tanh(gx[0] + gh[0])
            h = held(masks.state, t, held(masks.cell, t, new, h), h)
            (b_c, m_c), (b_h, m_h) = noise(masks.cell, t), noise(masks.state, t)
            h, read = b_c * b_h * h, m_c * m_h * h
        out.append(read)
    return torch.stack(out), {"lstm": (h, c), "slstm": (h, c, n)}.get(cell, (h,))
