"""AdamW through torch's own function, with its moments by the parameters' names.

Not the class torch.optim.AdamW: making one imports torch._dynamo, more than a second for each rank at each
start, and a restart is waited for.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

State = dict[str, Tensor]
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class AdamW:
    """The optimizer of one module. Matrices decay, vectors do not."""

    def __init__(self, module: nn.Module, weight_decay: float) -> None:
        self._parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._weight_decay = weight_decay
        self._state: dict[str, State] = {
            name: {"step": torch.zeros((), device=p.device), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
            for name, p in self._parameters.items()
        }

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """Take one step along the gradients and forget them."""
        for decays in (True, False):
            chosen = {name: p for name, p in self._parameters.items() if (p.ndim > 1) == decays and p.grad is not None}
            states = [self._state[name] for name in chosen]
            adamw(
                list(chosen.values()),
                [p.grad for p in chosen.values() if p.grad is not None],
                [state["exp_avg"] for state in states],
                [state["exp_avg_sq"] for state in states],
                [],
                [state["step"] for state in states],
                fused=True,
                amsgrad=False,
                beta1=0.9,
                beta2=0.95,
                lr=lr,
                weight_decay=self._weight_decay if decays else 0.0,
                eps=1e-8,
                maximize=False,
            )
        self.forget()

    def forget(self) -> None:
        """Drop the gradients."""
        for parameter in self._parameters.values():
            parameter.grad = None

    def state(self) -> State:
        """Everything that must be kept, by name."""
        return {f"{moment}/{name}": kept[moment] for name, kept in self._state.items() for moment in _MOMENTS}

    @torch.no_grad()
    def take(self, state: State) -> None:
        """Go on from a state. Raises KeyError or RuntimeError when it is of another module."""
        for name, kept in self._state.items():
            for moment in _MOMENTS:
                kept[moment].copy_(state[f"{moment}/{name}"])
