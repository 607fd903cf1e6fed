"""Closed forms against what torch counts, for every preset and for shapes nobody thought of."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_arch import PRESETS, preset, read, size_of
from torch import Tensor, nn

from pipeline.arch import Arch, Hybrid, Pool, ResNet, Root, ViT
from pipeline.errors import BadInput
from pipeline.models.build import build
from pipeline.models.flops import count, counted_flops
from pipeline.models.resnet import pad_same


def on_meta(arch: Arch, size: int, channels: int, classes: int) -> nn.Module:
    with torch.device("meta"):
        return build(arch, size, channels, classes, seed=0)


def taps_outside(model: nn.Module, size: int, channels: int) -> int:
    """FLOPs spent on kernel taps in the padding, by convolving ones with ones."""
    found = [0]

    def look(conv: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        side, kernel, pad = inputs[0].shape[-1], int(conv.kernel_size[0]), int(conv.padding[0])
        weight = torch.ones(1, 1, kernel, kernel)
        ones = torch.ones(1, 1, side, side)
        if getattr(conv, "same", False):
            ones = pad_same(ones, kernel, int(conv.stride[0]))
        inside = F.conv2d(ones, weight, None, conv.stride, pad).sum().item()
        every = output.shape[-1] ** 2 * kernel**2
        found[0] += 2 * (every - round(inside)) * conv.in_channels * conv.out_channels

    hooks = [m.register_forward_hook(look) for m in model.modules() if isinstance(m, nn.Conv2d)]
    model(torch.empty(1, channels, size, size, device="meta"))
    for hook in hooks:
        hook.remove()
    return found[0]


def assert_closed_forms(arch: Arch, size: int, channels: int, classes: int) -> None:
    model = on_meta(arch, size, channels, classes)
    assert arch.params(size, channels, classes) == sum(p.numel() for p in model.parameters())
    assert arch.flops(size, channels, classes) == count(model, size, channels)


@pytest.mark.parametrize("path", PRESETS, ids=lambda p: p.stem)
def test_a_preset_costs_what_its_closed_form_says(path: Any) -> None:
    assert_closed_forms(read(path), size_of(path.stem), 3, 1000)


depths = st.lists(st.integers(1, 2), min_size=1, max_size=4)
encoder: dict[str, Any] = {
    "depth": st.integers(1, 2),
    "width": st.integers(1, 20),
    "heads": st.integers(1, 4),
    "mlp_ratio": st.floats(0.01, 4.0),
    "pool": st.sampled_from(Pool),
}
archs = st.one_of(
    st.builds(ViT, patch=st.integers(1, 16), **encoder),
    st.builds(ResNet, depths, st.integers(1, 9), st.sampled_from(Root), st.integers(1, 64)),
    st.builds(Hybrid, depths, st.integers(1, 9), st.sampled_from(Root), st.integers(1, 64), **encoder),
)


@settings(max_examples=60, deadline=None)
@given(arch=archs, size=st.integers(0, 40), channels=st.integers(1, 4), classes=st.integers(1, 7))
def test_a_shape_is_refused_or_costs_what_it_says(arch: Arch, size: int, channels: int, classes: int) -> None:
    """Whatever passes check() also runs, on a batch of one image."""
    try:
        arch.check(size)
    except BadInput:
        return
    assert_closed_forms(arch, size, channels, classes)
    model = on_meta(arch, size, channels, classes)
    inside = arch.flops(size, channels, classes) - taps_outside(model, size, channels)
    assert arch.flops(size, channels, classes, padding=False) == inside


@pytest.mark.parametrize("name", ["vit_b16", "resnet50x1", "hybrid_r50_b16", "resnet_mini", "hybrid_pico"])
def test_presets_count_the_padding(name: str) -> None:
    arch, size = preset(name), size_of(name)
    inside = arch.flops(size, 3, 10) - taps_outside(on_meta(arch, size, 3, 10), size, 3)
    assert arch.flops(size, 3, 10, padding=False) == inside


def test_an_arch_is_counted_without_memory_or_arithmetic() -> None:
    """2048 px of ViT-H would not fit anywhere; the meta device holds no values."""
    arch = ViT(patch=16, depth=2, width=1280, heads=16)
    assert counted_flops(arch, 2048, 3, 21843) == arch.flops(2048, 3, 21843)
