"""A model of the user's own among ours: an `nn.Module` from tokens to logits, as `docs/guide/model.md` says.

Its noise is its own, drawn from torch's global generator while it is in training mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from rnndrop import own
from rnndrop.config.modules import SETTING
from rnndrop.dropout.masks import Masks, Sizes
from rnndrop.errors import RequestError
from rnndrop.models.encoder import State
from rnndrop.models.language_model import LanguageModel

_STEPS, _COLUMNS = 7, 3  # of the windows that a model is tried with: different, so that none can be taken for the other


@contextmanager
def global_draws(source: torch.Generator, device: torch.device) -> Iterator[None]:
    """Within, torch's global generators start from a seed of `source`; of CPU and `device` they end as they were."""
    seed = int(torch.randint(2**62, (), generator=source, device=source.device))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


class BrokenContractError(ValueError):
    """The user's model does something else than what `docs/guide/model.md` says."""


class OwnModel(LanguageModel):
    """The user's `module` with what evaluation and training ask of a model. It has no masks: they are its own.

    `name` is its import path, `source` the sha256 of its file.
    Its state, any nest of tensors in tuples, lists and dicts, is a `State` of one layer: its tensors in order.
    """

    def __init__(self, module: nn.Module, vocabulary_size: int, name: str = "", source: str = "") -> None:
        nn.Module.__init__(self)
        self.name, self.source = name, source
        self.sizes = Sizes(vocabulary_size, 0, (), 0)
        self.noise, self.first_weights = nn.ParameterDict(), {}
        self.module = module
        if not any(each.requires_grad for each in module.parameters()):
            raise BrokenContractError("it has no parameters to train")
        if odd := [name for name, value in module.state_dict().items() if not isinstance(value, Tensor)]:
            raise BrokenContractError(f"its state_dict has {odd[0]!r}, which is no tensor: no checkpoint can keep it")
        self.eval()
        self.structure: Any = None
        with torch.no_grad():
            _, self.structure = self._called(torch.zeros(1, 1, dtype=torch.int64, device=self.device), None)[1]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.module.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of its first weight."""
        return next(self.module.parameters()).dtype

    def initial_state(self, batch: int) -> State:
        """Nothing: the module begins by itself."""
        return ((),)

    def top(self, tokens: Tensor, state: State, masks: Masks) -> tuple[Tensor, State]:
        """From tokens (T, B) to the logits (T, B, V), and the state for the next window."""
        (parts,) = state
        given = tree_unflatten(list(parts), self.structure) if parts else None
        # Where gradients are wanted outside of training, as in dynamic evaluation, cuDNN has none of an LSTM.
        outside = torch.is_grad_enabled() and not self.training
        with torch.backends.cudnn.flags(enabled=False) if outside else nullcontext():
            logits, (parts, structure) = self._called(tokens, given)
        if structure != self.structure:
            raise BrokenContractError(f"its state is {structure} here and was {self.structure} after its first window")
        return logits, (parts,)

    def decoder_weights(self, masks: Masks) -> tuple[Tensor, Tensor]:
        """None (0, V) and (0,): what `top` gives are the logits (`rnndrop.ops.nll`)."""
        nothing = torch.empty(0, self.sizes.vocabulary, dtype=self.dtype, device=self.device)
        return nothing, nothing[:, 0]

    @property
    def draws(self) -> bool:
        """Its masks are drawn as it reads, and never from a plan."""
        return True

    @contextmanager
    def drawing(self, source: torch.Generator) -> Iterator[None]:
        """Within, it draws its noise, with torch's global generator that `source` seeds.

        One that is not being trained is afterwards as it was, its buffers too.
        """
        evaluated = not self.training
        kept = [(each, each.clone()) for each in self.buffers()] if evaluated else []
        try:
            if evaluated:
                self.train()
            with global_draws(source, self.device):
                yield
        finally:
            if evaluated:
                self.eval()
            with torch.no_grad():
                for buffer, value in kept:
                    buffer.copy_(value)

    def _called(self, tokens: Tensor, given: Any) -> tuple[Tensor, tuple[tuple[Tensor, ...], Any]]:
        """The logits, and the tensors of the state with what they are in. Raises BrokenContractError."""
        found = self.module(tokens, given)
        if not isinstance(found, tuple) or len(found) != 2:
            raise BrokenContractError(f"forward returns {_kind(found)}, and not (logits, state)")
        logits, state = found
        shape = (*tokens.shape, self.sizes.vocabulary)
        if not isinstance(logits, Tensor) or tuple(logits.shape) != shape:
            raise BrokenContractError(f"its logits are {_kind(logits)}, and not one (T, B, V) = {shape}")
        if state is None:
            raise BrokenContractError(
                "forward returns no state: return what the next window begins with, or () if none"
            )
        parts, structure = tree_flatten(state)
        if odd := [part for part in parts if not isinstance(part, Tensor)]:
            raise BrokenContractError(
                f"its state holds {_kind(odd[0])}, and not tensors alone, in tuples, lists and dicts"
            )
        return logits, (tuple(part.contiguous() for part in parts), structure)


def own_model(
    name: str, vocabulary_size: int, arguments: Mapping[str, Any], draws: torch.Generator, device: torch.device
) -> OwnModel:
    """The model that `model.module` names, with initial weights of its own that it draws with `draws`.

    Raises RequestError where it cannot be had, or is none.
    """
    kind, path, source = own.imported(SETTING, name, type)
    if not issubclass(kind, nn.Module):
        raise RequestError(f"{SETTING}={name}: in {path} {kind.__name__} is no class of torch.nn.Module.")
    with _refused(name), global_draws(draws, device):
        try:
            module = kind(vocabulary_size, **arguments)
        except TypeError as error:
            called = ", ".join([str(vocabulary_size), *(f"{key}={value!r}" for key, value in arguments.items())])
            said = own.raised(SETTING, name, path, error)
            raise RequestError(f"{said}. It is called as {kind.__name__}({called}).") from None
        return OwnModel(module.to(device), vocabulary_size, name, source)


def check(model: OwnModel, name: str) -> None:
    """Raise RequestError where a model does not keep to what is asked of it. It is of no use afterwards.

    Its weights are moved, so that what begins at zero shows what it does.
    """
    draws = torch.Generator().manual_seed(0)
    tokens = torch.randint(model.sizes.vocabulary, (2 * _STEPS, _COLUMNS), generator=draws).to(model.device)
    with _refused(name):
        with model.drawing(draws):
            logits, _ = model.top(tokens[:_STEPS], model.initial_state(_COLUMNS), _NO_MASKS)
            logits.sum().backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            _check_values(model, tokens, draws)


def _check_values(model: OwnModel, tokens: Tensor, draws: torch.Generator) -> None:
    begin, first, second = model.initial_state(_COLUMNS), tokens[:_STEPS], tokens[_STEPS:]

    def read(tokens: Tensor, state: State = begin) -> tuple[Tensor, State]:
        return model.top(tokens, state, _NO_MASKS)

    if not read(first)[0].isfinite().all():
        raise BrokenContractError("its first logits are not finite")
    for each in model.parameters():
        if each.is_floating_point():
            each.add_(0.1 * torch.randn(each.shape, generator=draws).to(each))
    logits, state = read(first)
    if not _alike(logits, read(first)[0]):
        raise BrokenContractError(
            "without training mode it gives other logits each time: its dropout must be off then, and what it carries"
            " be in the state"
        )
    other = (first + 1) % model.sizes.vocabulary
    if not _alike(logits[:-1], read(torch.cat([first[:-1], other[-1:]]))[0][:-1]):
        raise BrokenContractError("its logits at a step change with later tokens")
    if not _alike(logits[:, 1:], read(torch.cat([other[:, :1], first[:, 1:]], 1))[0][:, 1:]):
        raise BrokenContractError("its logits of a sequence change with another one: tokens are (T, B), time first")
    if state[0] and torch.equal(read(second, state)[0], read(second)[0]):
        raise BrokenContractError("the state that it is given changes nothing: return () if it carries none")


_NO_MASKS = Masks(layers=())


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether logits are the same but for rounding."""
    return bool((one - other).abs().max() <= 1e-4 * (1 + one.abs().max()))


@contextmanager
def _refused(name: str) -> Iterator[None]:
    """Within, what goes wrong in the user's file is a RequestError, in one line."""
    try:
        yield
    except (RequestError, torch.OutOfMemoryError):
        raise
    except BrokenContractError as error:
        raise RequestError(f"{SETTING}={name}: {error}.") from None
    except (Exception, SystemExit) as error:
        raise own.raised(SETTING, name, own.source_of(SETTING, name), error) from None


def _kind(value: object) -> str:
    return f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else f"a value of type {type(value).__name__}"
