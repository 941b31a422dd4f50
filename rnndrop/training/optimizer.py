"""One update of the weights: clipping, the optimiser's rule, decoupled weight decay, the learning-rate schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from rnndrop.config.schema import TrainerSettings
from rnndrop.models.encoder import weights_of


class Update:
    """Applies gradients to the parameters of a model."""

    def __init__(self, model: nn.Module, settings: TrainerSettings) -> None:
        self.settings = settings
        # Not the strength of learned noise, of which 0 is nothing special: a rate of one half.
        self.decaying = weights_of(model)
        self.parameters = list(model.parameters())
        self.moments: dict[int, dict[str, Tensor]] = {}  # Adam's, by the index of their parameter
        self._fused = self.parameters[0].device.type in ("cpu", "cuda")
        self.set_epoch(1)

    def set_epoch(self, epoch: int) -> None:
        """Set the learning rate of an epoch, counted from 1."""
        self.learning_rate = learning_rate(self.settings, epoch)

    @torch.no_grad()
    def __call__(self, scale: float = 1.0) -> None:
        """Clip the gradients to the norm `clip`, decay, update at `scale` times the rate, and forget the gradients."""
        self.rate = rate = self.learning_rate * scale  # of the last update
        rows = self._take_rows()
        factor = self._clipping([gradient.values() for gradient in rows.values()])
        self._decay(rate)
        self._step(rate, factor)
        for parameter, gradient in rows.items():
            change = gradient.values().mul_(-rate)
            parameter.index_add_(0, gradient.indices()[0], change if factor is None else change.mul_(factor))
        for parameter in self.parameters:
            parameter.grad = None

    def _decay(self, rate: float) -> None:
        """Shrink the weights before the step: scaled by the rate, that is torch's AdamW, and its SGD's weight decay."""
        if self.settings.weight_decay:
            scaled = self.settings.scaled_decay or self.settings.optimizer == "adamw"
            decay = self.settings.weight_decay * (rate if scaled else 1.0)
            torch._foreach_mul_(list[Tensor](self.decaying), 1.0 - decay)

    def _take_rows(self) -> dict[nn.Parameter, Tensor]:
        """The gradients that hold rows alone, taken away, if the optimiser's rule is to touch those rows alone."""
        sparse = [each for each in self.parameters if each.grad is not None and each.grad.is_sparse]
        rows = {}
        for parameter in sparse:
            assert parameter.grad is not None
            if self.settings.optimizer == "sgd":
                rows[parameter] = parameter.grad.coalesce()
            parameter.grad = None if parameter in rows else _laid_out(parameter.grad.to_dense(), parameter)
        return rows

    def _clipping(self, more: list[Tensor]) -> Tensor | None:
        """What the gradients, and `more` of them, must be multiplied by."""
        if self.settings.clip is None:
            return None
        gradients = [each.grad for each in self.parameters if each.grad is not None]
        norm = nn.utils.get_total_norm([*gradients, *more])  # torch takes its fast way where a device has it
        return (self.settings.clip / (norm + 1e-6)).clamp(max=1.0)

    def _step(self, rate: float, factor: Tensor | None) -> None:
        """The optimiser's step with gradients times `factor`: in one pass over memory where it is fused.

        torch's functions, since its classes import the compiler at their first step: 2 s of every run.
        """
        held = [index for index, each in enumerate(self.parameters) if each.grad is not None]
        parameters: list[Tensor] = [self.parameters[index] for index in held]
        gradients: list[Tensor] = [each.grad for each in parameters if each.grad is not None]
        scale = None
        if factor is not None and self._fused:
            scale = factor.reciprocal()
        elif factor is not None:
            torch._foreach_mul_(gradients, factor)
        options: Any = {"fused": self._fused, "grad_scale": scale, "lr": rate, "weight_decay": 0.0, "maximize": False}
        if self.settings.optimizer == "sgd":
            sgd(parameters, gradients, [None] * len(held), momentum=0.0, dampening=0.0, nesterov=False, **options)
            return
        moments = [self.moments.get(index) or self._begin(index) for index in held]
        means, squares, steps = ([each[name] for each in moments] for name in ("exp_avg", "exp_avg_sq", "step"))
        adam(
            parameters, gradients, means, squares, [], steps, amsgrad=False, beta1=0.9, beta2=0.999, eps=1e-8, **options
        )

    def _begin(self, index: int) -> dict[str, Tensor]:
        """The moments of a parameter before its first update."""
        parameter = self.parameters[index]
        self.moments[index] = {
            "step": torch.zeros((), device=parameter.device if self._fused else "cpu"),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
        return self.moments[index]

    def state_dict(self) -> dict[str, Tensor]:
        """What the optimiser remembers, by `parameter index/name`."""
        return {f"{index}/{name}": value for index, own in self.moments.items() for name, value in own.items()}

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` returned."""
        self.moments = {}
        for key, tensor in tensors.items():
            index, _, name = key.partition("/")
            parameter = self.parameters[int(index)]
            if name == "step":
                tensor = tensor.to(parameter.device if self._fused else "cpu")
            else:
                tensor = _laid_out(tensor.to(parameter.device), parameter)
            self.moments.setdefault(int(index), {})[name] = tensor


def _laid_out(tensor: Tensor, parameter: Tensor) -> Tensor:
    """`tensor`, its elements in memory where those of the parameter are: fused steps go by their place alone."""
    return tensor if tensor.stride() == parameter.stride() else torch.empty_like(parameter).copy_(tensor)


def learning_rate(settings: TrainerSettings, epoch: int) -> float:
    """The rate of an epoch, counted from 1: divided by `decay` in each epoch after the first `decay_after`."""
    try:
        return settings.learning_rate / settings.decay ** max(0, epoch - settings.decay_after)
    except OverflowError:  # after thousands of epochs
        return 0.0
