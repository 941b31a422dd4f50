"""Drop-in dropout modules for other people's models: WeightDrop, LockedDropout, EmbeddingDropout.

The two that wrap a module leave its Parameters as they are, with their names: `state_dict`, `named_parameters` and all
that goes by name (`get_parameter`, `torch.func.functional_call`, averages of weights) see the model without dropout, so
checkpoints pass in both directions. The wrapped module, with its attributes, is `.module`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Iterator, Sequence
from difflib import get_close_matches
from functools import partial, reduce
from typing import Any, Self

from torch import Tensor, nn
from torch.func import functional_call

from rnndrop.dropout.functional import AXES, check_rate, drop_words, locked_dropout, weight_drop

_SHARED = (
    "_parameters", "_buffers", "_modules", "_non_persistent_buffers_set",
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)  # fmt: skip


class _Transparent(nn.Module):
    """Holds a module whose members are its own: the same dicts of parameters, buffers, children and hooks of state.

    The module itself is no child, so it adds nothing to their names; it is visited (`modules`, `apply`) at the name of
    the wrapper. Names of the wrapper's settings come before those of members, which are therefore refused if they hold
    tensors.
    """

    module: nn.Module

    def __init__(self, module: nn.Module, **settings: Any) -> None:
        super().__init__()
        self.__dict__.update(settings)
        self.module = module
        for name in {key.partition(".")[0] for key in module.state_dict()}:
            if getattr(self, name) is not getattr(module, name):
                owner, wrapper = type(module).__name__, type(self).__name__
                raise ValueError(f"{owner} has a member {name!r}, and so has {wrapper}: wrap a part of it instead.")

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "module":
            self.__dict__.update({each: value.__dict__[each] for each in _SHARED}, module=value)
        elif isinstance(value, Tensor | nn.Module) and name not in self.__dict__:
            setattr(self.module, name, value)
        else:
            object.__setattr__(self, name, value)

    def named_modules(
        self, memo: set[nn.Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Module]]:
        """This module, the wrapped one under the same name, and what is in it."""
        memo = set() if memo is None else memo
        if self not in memo:
            if remove_duplicate:
                memo.add(self)
            yield prefix, self
            yield from self.module.named_modules(memo, prefix, remove_duplicate)

    def train(self, mode: bool = True) -> Self:
        """Training, or evaluation, of the wrapped module too."""
        self.training = mode
        self.module.train(mode)
        return self

    def apply(self, fn: Callable[[nn.Module], None]) -> Self:
        """Call `fn` with the wrapped module and what is in it, then with this one."""
        self.module.apply(fn)
        fn(self)
        return self

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """The state_dict of the wrapped module."""
        return self.module.state_dict(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any) -> None:
        self.module._load_from_state_dict(*args)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        self.module._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        return self

    def _replicate_for_data_parallel(self) -> Self:
        replica: Self = super()._replicate_for_data_parallel()  # type: ignore[no-untyped-call]
        replica.module = self.module._replicate_for_data_parallel()  # type: ignore[no-untyped-call]
        return replica

    def __repr__(self) -> str:
        inner = textwrap.indent(f"{self.extra_repr()}\n(module): {self.module!r}", "  ")
        return f"{type(self).__name__}(\n{inner}\n)"


class WeightDrop(_Transparent):
    """Drops weights of the wrapped module, anew at each training forward; the identity at evaluation.

    The module is called with dropped copies in place of its weights (`torch.func.functional_call`). Its
    Parameters are never changed, and the gradients reach them through the mask.

    Args:
        module: any module; its forward's arguments and results pass unchanged.
        weights: names of the module's parameters, such as ["weight_hh_l0"]; dotted for those of submodules. One that
            several places share (tied weights) goes by the first of its names, and is dropped in all of them.
        dropout: the chance of dropping, 0 <= p < 1.
        variational: False: single weights (DropConnect). True: what `axis` says. Both are off at evaluation.
        axis: "out": mask (out, 1), removes rows of the weight, as WeightDrop(variational=True) does elsewhere.
            "in": mask (1, in), removes columns, which equals a mask on the input that all of batch and time
            share. In an LSTM's weight_hh (4H, H) a row is one gate of one unit, a column one unit of h(t-1).

    Raises:
        ValueError: a rate outside [0, 1), no names or a name that the module does not have, an axis that does not fit,
            or a module with a member that is called as a setting here.

    Source: Wan et al. 2013, DropConnect, r = a((M * W) v); Merity et al. 2018, AWD-LSTM (section 2).

    >>> import torch
    >>> layer = nn.Linear(3, 2)  # the weights and biases are 1: a kept row gives 3/0.7 + 1, a dropped one 1
    >>> _ = nn.init.ones_(layer.weight), nn.init.ones_(layer.bias)
    >>> out = WeightDrop(layer, ["weight"], dropout=0.3, variational=True)(torch.ones(2, 2, 3))
    >>> bool(((out - (3 / 0.7 + 1)).abs() < 1e-5).logical_or(out == 1).all())
    True
    """

    weights: tuple[str, ...]
    dropout: float
    variational: bool
    axis: str
    _beside: tuple[str, ...]

    def __init__(
        self,
        module: nn.Module,
        weights: Sequence[str],
        dropout: float = 0.0,
        variational: bool = False,
        *,
        axis: str = "out",
    ) -> None:
        names = (weights,) if isinstance(weights, str) else tuple(weights)
        settings = {"dropout": check_rate(dropout), "variational": variational, "axis": axis}
        super().__init__(module, weights=names, _beside=_beside(module, names), **settings)
        self._check()

    def _check(self) -> None:
        known = dict(self.module.named_parameters())
        owner, valid = type(self.module).__name__, f"Valid: {' '.join(known)}"
        if not self.weights:
            raise ValueError(f"Name at least one weight of {owner} to drop.\n{valid}")
        for name in self.weights:
            if name not in known:
                close = get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise ValueError(f"{owner} has no weight {name!r}.{hint}\n{valid}")
            weight_drop(known[name], self.dropout, self.variational, axis=self.axis, training=False)
        if self.axis != AXES[0] and not self.variational:
            raise ValueError(f"axis={self.axis!r} needs variational=True; else single weights are dropped.")

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the wrapped module, in training with dropped weights."""
        if not self.training or self.dropout == 0:
            return self.module(*args, **kwargs)
        raw = partial(_tensor, self.module)
        drop = partial(weight_drop, p=self.dropout, variational=self.variational, axis=self.axis)
        weights = {name: drop(raw(name)) for name in self.weights}
        weights.update({name: raw(name).clone() for name in self._beside})
        return functional_call(self.module, weights, args, kwargs)

    def extra_repr(self) -> str:
        """The settings, for print."""
        axis = f", variational=True, axis={self.axis!r}" if self.variational else ""
        return f"weights={list(self.weights)}, dropout={self.dropout}{axis}"


class LockedDropout(nn.Module):
    """Drops features with one mask for the whole sequence; the identity at evaluation.

    TIME COMES FIRST unless you say `batch_first=True`: x is (time, batch, feature) as for nn.LSTM, and the mask is
    (1, batch, feature), the same at each time, another for each batch entry. Given batch-first input without
    `batch_first=True` it cannot know, and ties the mask over the batch instead of over time.

    Args:
        dropout: the chance of dropping, 0 <= p < 1.
        batch_first: x is (batch, time, feature) and the mask (batch, 1, feature).

    Raises:
        ValueError: a rate outside [0, 1); at the call, an x without three axes.
        TypeError: at the call, an x that is no tensor, as a PackedSequence: drop before packing.

    Source: Gal & Ghahramani 2016 (section 4.1); Merity et al. 2018, AWD-LSTM (section 4.2).
    """

    def __init__(self, dropout: float = 0.0, batch_first: bool = False) -> None:
        super().__init__()
        self.dropout = check_rate(dropout)
        self.batch_first = batch_first

    def forward(self, x: Tensor, dropout: float | None = None) -> Tensor:
        """Drop features of x; a rate given here, as in AWD-LSTM, goes before that of the constructor."""
        p = self.dropout if dropout is None else dropout
        return locked_dropout(x, p, self.batch_first, training=self.training)

    def extra_repr(self) -> str:
        """The settings, for print."""
        return f"dropout={self.dropout}, batch_first={self.batch_first}"


class EmbeddingDropout(_Transparent):
    """Drops word types of an nn.Embedding, whole rows for the whole batch; the identity at evaluation.

    `padding_idx`, `max_norm`, `scale_grad_by_freq` and `sparse` keep their meaning, and so has what a class based on
    nn.Embedding does; `max_norm` bounds the rows before they are scaled by 1/(1-p).

    Args:
        embedding: the nn.Embedding, (vocabulary, feature).
        dropout: the chance of dropping a word type, 0 <= p < 1.

    Raises:
        TypeError: another module than an nn.Embedding.
        ValueError: a rate outside [0, 1).

    Source: Gal & Ghahramani 2016 (section 4.2); Merity et al. 2018, AWD-LSTM (section 4.3).
    """

    module: nn.Embedding
    dropout: float

    def __init__(self, embedding: nn.Embedding, dropout: float = 0.1) -> None:
        if not isinstance(embedding, nn.Embedding):
            raise TypeError(f"EmbeddingDropout wraps an nn.Embedding; got {type(embedding).__name__}.")
        super().__init__(embedding, dropout=check_rate(dropout))

    def forward(self, words: Tensor) -> Tensor:
        """Look up words (...) as vectors (..., feature)."""
        vectors = self.module(words)  # a class based on nn.Embedding may do more than look up
        return drop_words(vectors, words, self.module.weight, self.dropout, self.training)

    def extra_repr(self) -> str:
        """The settings, for print."""
        return f"dropout={self.dropout}"


def _tensor(module: nn.Module, name: str) -> Tensor:
    """The tensor at a dotted name; in a DataParallel replica it is a plain attribute, not a Parameter."""
    tensor: Tensor = reduce(getattr, name.split("."), module)  # type: ignore[assignment]
    return tensor


def _beside(module: nn.Module, weights: Collection[str]) -> tuple[str, ...]:
    """The other parameters of each nn.LSTM, nn.GRU or nn.RNN that owns one of `weights`.

    cuDNN wants all weights of an RNN in one buffer, and nn.RNNBase moves those that it is called with into a new
    one (`flatten_parameters`). So it is called with copies only, for a Parameter that moves would spoil the backward
    pass of an earlier forward.
    """
    others: list[str] = []
    for prefix, rnn in module.named_modules():
        if isinstance(rnn, nn.RNNBase):
            own = [name for name, _ in rnn.named_parameters(prefix, recurse=False)]
            if any(name in weights for name in own):
                others += [name for name in own if name not in weights]
    return tuple(others)
