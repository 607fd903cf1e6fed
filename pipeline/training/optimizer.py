"""Optimisers: torch's fused ones, and the same two with their momentum kept in bfloat16.

The official code of the paper keeps the momentum of SGD so, and later work the first moment of Adam (Zhai et al. 2022,
section 3.4): half the memory of that slot. The update itself is computed in the precision of the weights.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.recipe import MomentumDtype, Optimizer, Recipe

ADAM_EPS = 1e-8
NOT_KERNELS = ("pos_embed", "position", "cls")


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Weight decay on kernels (two dimensions or more) only: not on biases, norms, class token or positions."""
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        kernel = parameter.ndim >= 2 and not any(part in name for part in NOT_KERNELS)
        (decayed if kernel else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    betas = (recipe.beta1, recipe.beta2)
    if recipe.momentum_dtype is MomentumDtype.bf16:
        if recipe.optimizer is Optimizer.adamw:
            return SmallAdamW(groups, recipe.lr, betas)
        return SmallSGD(groups, recipe.lr, recipe.momentum)
    if recipe.optimizer is Optimizer.adamw:
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=betas, eps=ADAM_EPS, fused=True)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, fused=True)


class _Small(torch.optim.Optimizer):
    """One update per parameter that has a gradient."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update(group, self.state[parameter], parameter, parameter.grad)
        return loss

    def update(self, group: dict[str, Any], state: dict[str, Tensor], weight: Tensor, grad: Tensor) -> None:
        raise NotImplementedError

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Torch would cast every slot to the dtype of its parameter; the small one stays small."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            for slot in ("momentum_buffer", "exp_avg"):
                if slot in state:
                    state[slot] = state[slot].to(torch.bfloat16)


class SmallSGD(_Small):
    """``torch.optim.SGD`` with a bfloat16 ``momentum_buffer``."""

    def __init__(self, groups: list[dict[str, Any]], lr: float, momentum: float) -> None:
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": 0.0})

    def update(self, group: dict[str, Any], state: dict[str, Tensor], weight: Tensor, grad: Tensor) -> None:
        grad = grad.add(weight, alpha=group["weight_decay"]) if group["weight_decay"] else grad
        before = state.get("momentum_buffer")
        moved = grad if before is None else before.to(grad.dtype).mul_(group["momentum"]).add_(grad)
        state["momentum_buffer"] = moved.to(torch.bfloat16)
        weight.add_(moved, alpha=-group["lr"])


class SmallAdamW(_Small):
    """``torch.optim.AdamW`` with a bfloat16 ``exp_avg``."""

    def __init__(self, groups: list[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": ADAM_EPS, "weight_decay": 0.0})

    def update(self, group: dict[str, Any], state: dict[str, Tensor], weight: Tensor, grad: Tensor) -> None:
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            state["exp_avg"] = torch.zeros_like(weight, dtype=torch.bfloat16)
            state["exp_avg_sq"] = torch.zeros_like(weight)
        beta1, beta2 = group["betas"]
        state["step"] += 1
        step = float(state["step"])
        mean = state["exp_avg"].to(grad.dtype).lerp_(grad, 1 - beta1)
        state["exp_avg"] = mean.to(torch.bfloat16)
        square = state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        weight.mul_(1 - group["lr"] * group["weight_decay"])
        root = square.sqrt().div_((1 - beta2**step) ** 0.5).add_(group["eps"])
        weight.addcdiv_(mean, root, value=-group["lr"] / (1 - beta1**step))
