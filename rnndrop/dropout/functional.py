"""Weight, locked and embedding dropout as functions of their tensors.

A mask is drawn anew at every call, Bernoulli(1-p)/(1-p) (inverted scaling: its mean is 1), and multiplies out
of place. An explicit `mask` is used as it is, in place of a drawn one: it holds 0 and 1/(1-p), scaled already.
Tensors of 16 bits are multiplied in float32, where 1/(1-p) is exact enough to keep the mean.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

AXES = ("out", "in")


def weight_drop(
    weight: Tensor,
    p: float,
    variational: bool = False,
    *,
    axis: str = "out",
    training: bool = True,
    mask: Tensor | None = None,
) -> Tensor:
    """Drop single entries, rows or columns of a weight.

    Args:
        weight: (out, in), or any shape of which the first two axes are these.
        p: the chance of dropping, 0 <= p < 1.
        variational: False: one draw for each entry, a mask of the weight's own shape (DropConnect). True: one
            draw for each index of `axis`.
        axis: "out": mask (out, 1), removes rows, so all that enters an output. "in": mask (1, in), removes
            columns, which equals a mask on the input that all of batch and time share.
        training: False: the identity.
        mask: used in place of a drawn one.

    Returns:
        A new tensor of the weight's shape; the weight itself where nothing is dropped.

    Raises:
        ValueError: a rate outside [0, 1), an axis that the weight does not have, or a mask of another shape.

    Source: Wan et al. 2013, DropConnect, r = a((M * W) v); Merity et al. 2018, AWD-LSTM (section 2), on recurrent
    weights. Whole rows and columns: Gal & Ghahramani 2016 (section 4, dropout as noise on the weight matrices).
    """
    mask = _mask(weight, _weight_mask_shape(weight, variational, axis), p, training, mask)
    return weight if mask is None else _times(weight, mask)


def locked_dropout(
    x: Tensor, p: float, batch_first: bool = False, *, training: bool = True, mask: Tensor | None = None
) -> Tensor:
    """Drop features with one mask for the whole sequence: the same at each time, another for each batch entry.

    Args:
        x: (time, batch, feature); (batch, time, feature) with `batch_first`.
        p: the chance of dropping, 0 <= p < 1.
        batch_first: the first axis is the batch, the second is time.
        training: False: the identity.
        mask: used in place of a drawn one, (1, batch, feature); (batch, 1, feature) with `batch_first`.

    Returns:
        A new tensor of the shape of x; x itself where nothing is dropped.

    Raises:
        ValueError: a rate outside [0, 1), an x without three axes, or a mask of another shape.
        TypeError: an x that is no tensor, as a PackedSequence.

    Source: Gal & Ghahramani 2016 (section 4.1, the same mask at each time step); AWD-LSTM's LockedDropout.
    """
    if not isinstance(x, Tensor):
        hint = " Drop its features before it is packed." if isinstance(x, PackedSequence) else ""
        raise TypeError(f"x must be a tensor (time, batch, feature); got {type(x).__name__}.{hint}")
    if x.dim() != 3:
        raise ValueError(f"x must have three axes, time, batch and feature; its shape is {tuple(x.shape)}.")
    first, second, feature = x.shape
    mask = _mask(x, (first, 1, feature) if batch_first else (1, second, feature), p, training, mask)
    return x if mask is None else _times(x, mask)


def embedding_dropout(
    words: Tensor,
    weight: Tensor,
    p: float,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
    *,
    training: bool = True,
    mask: Tensor | None = None,
) -> Tensor:
    """Look words up in an embedding of which whole rows, that is word types, are dropped.

    A dropped word is dropped wherever it stands in the batch. The mask multiplies the vectors that were looked
    up, which equals masking the rows; so the matrix is not copied and `sparse` gradients stay sparse.

    Args:
        words: indices, of any shape (...).
        weight: (vocabulary, feature).
        p: the chance of dropping a word type, 0 <= p < 1.
        padding_idx: as in `torch.nn.functional.embedding`, as are the four arguments that follow. `max_norm`
            renormalises the rows of `weight` in place, before dropout, as it does there.
        max_norm: see there.
        norm_type: see there.
        scale_grad_by_freq: see there.
        sparse: see there.
        training: False: the identity, a plain look-up.
        mask: used in place of a drawn one, (vocabulary, 1).

    Returns:
        (..., feature).

    Raises:
        ValueError: a rate outside [0, 1), or a mask of another shape.

    Source: Gal & Ghahramani 2016 (section 4.2, word embeddings dropout); AWD-LSTM's embedded_dropout, which
    draws one mask for the batch.
    """
    vectors = F.embedding(words, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq, sparse)
    return drop_words(vectors, words, weight, p, training, mask)


def drop_words(
    vectors: Tensor, words: Tensor, weight: Tensor, p: float, training: bool = True, mask: Tensor | None = None
) -> Tensor:
    """The same of vectors (..., feature) that were looked up already, however that was."""
    mask = _mask(weight, (weight.size(0), 1), p, training, mask)
    return vectors if mask is None else _times(vectors, F.embedding(words, mask))


def check_rate(p: float) -> float:
    """Return the rate p; ValueError unless 0 <= p < 1."""
    if not 0 <= p < 1:
        raise ValueError(f"A dropout rate must lie in [0, 1); got {p}.")
    return p


def _weight_mask_shape(weight: Tensor, variational: bool, axis: str) -> tuple[int, ...]:
    """(out, 1, ...), (1, in, 1, ...) or, not variational, the weight's own shape."""
    if axis not in AXES:
        raise ValueError(f"axis must be 'out' or 'in'; got {axis!r}.")
    if not variational:
        return tuple(weight.shape)
    kept = AXES.index(axis)
    if kept >= weight.dim():
        raise ValueError(f"A weight of shape {tuple(weight.shape)} has no axis {axis!r}.")
    return tuple(size if dim == kept else 1 for dim, size in enumerate(weight.shape))


def _mask(like: Tensor, shape: Sequence[int], p: float, training: bool, mask: Tensor | None) -> Tensor | None:
    """The mask to multiply with, drawn where none is given; None stands for the identity."""
    check_rate(p)
    if mask is not None and tuple(mask.shape) != tuple(shape):
        raise ValueError(f"The mask must have shape {tuple(shape)}; got {tuple(mask.shape)}.")
    if not training or (mask is None and p == 0):
        return None
    if mask is not None:
        return mask
    return like.new_empty(shape, dtype=torch.promote_types(like.dtype, torch.float32)).bernoulli_(1 - p).div_(1 - p)


def _times(x: Tensor, mask: Tensor) -> Tensor:
    """x under a mask, in the type of x."""
    return (x * mask).to(x.dtype)
