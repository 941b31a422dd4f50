"""The running average of the weights: what `torch.optim.ASGD` with t0=0 and lambd=0 keeps beside plain SGD.

One difference is known: ASGD steps at the rate that was set when its step before ended. So in salesforce/awd-lstm-lm,
where every window sets a rate, a step has the rate of the length of the window before; here it has that of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class Average:
    """The mean of `parameters` over the updates since it began, which `add` counts.

    As in torch, update n has the weight 1/max(1, n - 1), so that from the second on the first one is forgotten.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = parameters
        self.means = [parameter.detach().clone() for parameter in parameters]
        self.updates = 0

    @torch.no_grad()
    def add(self) -> None:
        """Take in the parameters as they are after one more update."""
        self.updates += 1
        weight = 1 / max(1, self.updates - 1)
        torch._foreach_lerp_(self.means, list(self.parameters), weight)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Within, the parameters are the means; after it, whatever happens, themselves again, bit for bit."""
        own = [parameter.detach().clone() for parameter in self.parameters]
        self._set(self.means)
        try:
            yield
        finally:
            self._set(own)

    @torch.no_grad()
    def _set(self, values: Sequence[Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)

    def state_dict(self) -> dict[str, Tensor]:
        """The means by the index of their parameter, and how many updates there were."""
        return {"updates": torch.tensor(self.updates), **{str(i): mean for i, mean in enumerate(self.means)}}

    @torch.no_grad()
    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `state_dict` returned."""
        self.updates = int(tensors["updates"])
        for i, mean in enumerate(self.means):
            mean.copy_(tensors[str(i)])
