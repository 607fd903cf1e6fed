"""Counted FLOPs: what the operators of a module really do, to hold the closed forms of pipeline.arch against."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.arch import Arch
from pipeline.models.build import build


def counted_flops(arch: Arch, image_size: int, channels: int, classes: int) -> int:
    """Forward FLOPs of one image, counted on the meta device: no memory, no arithmetic."""
    with torch.device("meta"):
        model = build(arch, image_size, channels, classes, seed=0)
    return count(model, image_size, channels)


def count(model: nn.Module, image_size: int, channels: int) -> int:
    """Forward FLOPs of one image through a module, on the device of its parameters."""
    image = torch.empty(1, channels, image_size, image_size, device=next(model.parameters()).device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    return counter.get_total_flops()
