"""Models whose weights hide nothing, and images to try them on."""

import torch
from torch import Tensor, nn

from pipeline.arch import Arch
from pipeline.models.build import build


def images(rows: int, columns: int, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, rows, columns, generator=torch.Generator().manual_seed(0))


def filled(arch: Arch, size: int, channels: int = 3, classes: int = 5) -> nn.Module:
    model = build(arch, size, channels, classes, seed=0)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.3, generator=torch.Generator().manual_seed(p.numel()))
    return model


def assert_same(one: nn.Module, other: nn.Module) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.dtype == second[name].dtype
        assert torch.equal(value, second[name]), name
