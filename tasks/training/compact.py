"""AdamW whose weights, gradients and moments are bfloat16: 10 bytes a parameter, or 8, instead of 16.

A step of 1e-6 is far less than half the distance between two bfloat16 (6e-5 at a weight of 0.02): rounding would take
it back. So the bits that make a weight float32 are kept beside it, or chance rounds, which is right in the mean.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from tasks.method.rounding import joined, split, stochastically_rounded

REST = "rest"
"""In the optimizer's state: the bits that a weight is more than its bfloat16."""


class CompactAdamW(Optimizer):
    """Makes bfloat16 parameters of the float32 ones that it is given. `stochastic`: chance rounds, nothing is kept."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float = 0.0,
        stochastic: bool = False,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})
        self._stochastic = stochastic
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.data, rest = split(parameter.data)
                moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
                kept = {} if stochastic else {REST: rest}
                self.state[parameter] = {"step": torch.zeros(()), **moments, **kept}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101), a parameter at a time in float32."""
        pairs = ((parameter, group) for group in self.param_groups for parameter in group["params"])
        for number, (parameter, group) in enumerate(pairs):
            if parameter.grad is not None:
                self._move(parameter, group, number)

    def _move(self, parameter: Tensor, group: dict[str, Any], number: int) -> None:
        state = self.state[parameter]
        state["step"] += 1
        step, slope, (beta1, beta2) = int(state["step"]), parameter.grad.float(), group["betas"]  # type: ignore[union-attr]
        first = state["exp_avg"].float().lerp_(slope, 1 - beta1)
        second = state["exp_avg_sq"].float().mul_(beta2).addcmul_(slope, slope, value=1 - beta2)
        state["exp_avg"].copy_(first)
        state["exp_avg_sq"].copy_(second)
        scale = second.div_(1 - beta2**step).sqrt_().add_(group["eps"])
        whole = parameter.float() if self._stochastic else joined(parameter, state[REST])
        whole.mul_(1 - group["lr"] * group["weight_decay"])
        whole.addcdiv_(first, scale, value=-group["lr"] / (1 - beta1**step))
        if self._stochastic:
            chance = torch.Generator(parameter.device).manual_seed(hash((step, number)))
            parameter.copy_(stochastically_rounded(whole, chance))  # alike on every rank
        else:
            weight, rest = split(whole)
            parameter.copy_(weight)
            state[REST].copy_(rest)
