"""Optimisers: torch's own where they are, and theirs but for rounding where the momentum is bfloat16."""

import pytest
import torch
from small import ARCHS
from torch import nn

from pipeline.models.build import build
from pipeline.recipe import MomentumDtype, Optimizer, Recipe
from pipeline.training.optimizer import build_optimizer
from pipeline.training.state import State, load_optimizer


def model_of(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3))


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, first: int = 0) -> None:
    for step in range(first, first + steps):
        x = torch.randn(16, 6, generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        (model(x) - x[:, :3] * 2).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_bf16_momentum_follows_torchs_optimiser(optimizer: Optimizer) -> None:
    weights = {}
    for dtype in MomentumDtype:
        model = model_of()
        recipe = Recipe(optimizer=optimizer, lr=0.02, weight_decay=0.3, momentum_dtype=dtype)
        train(model, build_optimizer(model, recipe), 60)
        weights[dtype] = torch.cat([p.detach().flatten() for p in model.parameters()])
    start = torch.cat([p.detach().flatten() for p in model_of().parameters()])
    moved = (weights[MomentumDtype.fp32] - start).norm()
    apart = (weights[MomentumDtype.fp32] - weights[MomentumDtype.bf16]).norm()
    assert 0 < apart < 0.02 * moved


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_bf16_momentum_is_stored_so_and_survives_a_checkpoint(optimizer: Optimizer) -> None:
    recipe = Recipe(optimizer=optimizer, lr=0.02, momentum_dtype=MomentumDtype.bf16)
    whole, cut = model_of(), model_of()
    train(whole, build_optimizer(whole, recipe), 20)
    first = build_optimizer(cut, recipe)
    train(cut, first, 7)
    state = State.from_bytes(State.capture(7, cut, first, {}, {}).to_bytes())
    slot = "exp_avg" if optimizer is Optimizer.adamw else "momentum_buffer"
    assert all(slots[slot].dtype is torch.bfloat16 for slots in state.optimizer.values())
    resumed = build_optimizer(cut, recipe)
    load_optimizer(resumed, state.optimizer)
    train(cut, resumed, 13, first=7)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), cut.parameters(), strict=True))


@pytest.mark.parametrize("arch", list(ARCHS))
def test_only_kernels_decay(arch: str) -> None:
    """Not biases, norms, class token or positions (big_vision: ``.*/kernel``)."""
    model = build(ARCHS[arch], 32, 3, 5, 0)
    decayed, plain = build_optimizer(model, Recipe(weight_decay=0.1)).param_groups
    names = {id(p): n for n, p in model.named_parameters()}
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    for parameter in plain["params"]:
        name = names[id(parameter)]
        assert parameter.ndim == 1 or name.endswith(("cls", "pos_embed")), name
    for parameter in decayed["params"]:
        name = names[id(parameter)]
        assert name.endswith("weight"), name
        assert "norm" not in name
    assert len(decayed["params"]) + len(plain["params"]) == len(names)


def test_decay_is_decoupled() -> None:
    """AdamW's convention: with no gradient to speak of, a step shrinks a kernel by lr x decay."""
    for dtype in MomentumDtype:
        layer = nn.Linear(2, 2, bias=False)
        before = layer.weight.detach().clone()
        optimizer = build_optimizer(layer, Recipe(lr=0.1, weight_decay=0.5, momentum_dtype=dtype))
        layer.weight.grad = torch.zeros_like(layer.weight)
        optimizer.step()
        torch.testing.assert_close(layer.weight.detach(), before * (1 - 0.1 * 0.5))
