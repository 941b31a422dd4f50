"""One update of the weights: clipping, the optimiser's rule, decoupled weight decay, the learning-rate schedule."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rnndrop.config.schema import TrainerSettings


class Update:
    """Applies gradients to the parameters of a model."""

    def __init__(self, model: nn.Module, settings: TrainerSettings) -> None:
        self.settings = settings
        self.parameters = list(model.parameters())
        kind = torch.optim.SGD if settings.optimizer == "sgd" else torch.optim.Adam
        self._fused = self.parameters[0].device.type in ("cpu", "cuda")
        self.optimizer: torch.optim.Optimizer = kind(self.parameters, lr=settings.learning_rate, fused=self._fused)
        self.set_epoch(1)

    def set_epoch(self, epoch: int) -> None:
        """Set the learning rate of an epoch, counted from 1."""
        self.learning_rate = learning_rate(self.settings, epoch)

    @torch.no_grad()
    def __call__(self, scale: float = 1.0) -> None:
        """Clip the gradients to the norm `clip`, decay, update at `scale` times the rate, and forget the gradients."""
        rate = self.learning_rate * scale
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        rows = self._take_rows()
        factor = self._clipping([gradient.values() for gradient in rows.values()])
        self._decay(rate)
        self._step(factor)
        for parameter, gradient in rows.items():
            change = gradient.values().mul_(-rate)
            parameter.index_add_(0, gradient.indices()[0], change if factor is None else change.mul_(factor))
        self.optimizer.zero_grad()

    def _decay(self, rate: float) -> None:
        """Shrink the weights before the step: scaled by the rate, that is torch's AdamW, and its SGD's weight decay."""
        if self.settings.weight_decay:
            scaled = self.settings.scaled_decay or self.settings.optimizer == "adamw"
            decay = self.settings.weight_decay * (rate if scaled else 1.0)
            torch._foreach_mul_(list[Tensor](self.parameters), 1.0 - decay)

    def _take_rows(self) -> dict[nn.Parameter, Tensor]:
        """The gradients that hold rows alone, taken from the optimiser, if its rule is to touch those rows alone."""
        sparse = [each for each in self.parameters if each.grad is not None and each.grad.is_sparse]
        rows = {}
        for parameter in sparse:
            assert parameter.grad is not None
            if self.settings.optimizer == "sgd":
                rows[parameter] = parameter.grad.coalesce()
            parameter.grad = None if parameter in rows else parameter.grad.to_dense()
        return rows

    def _clipping(self, more: list[Tensor]) -> Tensor | None:
        """What the gradients, and `more` of them, must be multiplied by."""
        if self.settings.clip is None:
            return None
        gradients = [each.grad for each in self.parameters if each.grad is not None]
        norm = nn.utils.get_total_norm([*gradients, *more], foreach=True)
        return (self.settings.clip / (norm + 1e-6)).clamp(max=1.0)

    def _step(self, factor: Tensor | None) -> None:
        """The optimiser's step with gradients times `factor`: in one pass over memory where it is fused."""
        if factor is not None and self._fused:
            self.optimizer.grad_scale = factor.reciprocal()  # type: ignore[attr-defined]
        elif factor is not None:
            torch._foreach_mul_([each.grad for each in self.parameters if each.grad is not None], factor)
        self.optimizer.step()

    def state_dict(self) -> dict[str, Tensor]:
        """What the optimiser remembers, by `parameter index/name`."""
        state = self.optimizer.state_dict()["state"]
        return {
            f"{index}/{name}": torch.as_tensor(value)
            for index, values in state.items()
            for name, value in values.items()
            if value is not None
        }

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` returned."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            index, _, name = key.partition("/")
            state.setdefault(int(index), {})[name] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})


def learning_rate(settings: TrainerSettings, epoch: int) -> float:
    """The rate of an epoch, counted from 1: divided by `decay` for each epoch after `decay_after`."""
    try:
        return settings.learning_rate / settings.decay ** max(0, epoch - settings.decay_after)
    except OverflowError:  # after thousands of epochs
        return 0.0
