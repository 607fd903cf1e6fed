"""Arch: a family and its shape, with parameters and FLOPs in closed form. No torch.

FLOPs are forward FLOPs of one image at 2 per multiply-add; matrix products, convolutions and attention count,
element-wise work does not: exactly what ``torch.utils.flop_counter.FlopCounterMode`` counts on our modules. With
``padding=False`` only kernel taps that fall inside the image count, which reproduces the ResNet rows of Table 6 of
arXiv 2010.11929.
"""

from pipeline.arch.backbone import Root, stem_width, units
from pipeline.arch.base import Arch
from pipeline.arch.encoder import Pool, hidden
from pipeline.arch.external import Counts, External, Module, Timm
from pipeline.arch.hybrid import Hybrid
from pipeline.arch.resnet import ResNet
from pipeline.arch.vit import ViT

FAMILIES: dict[str, type[Arch]] = {"vit": ViT, "hybrid": Hybrid, "resnet": ResNet}
"""The paper's three, by name."""
KINDS: dict[str, type[Arch]] = {**FAMILIES, "timm": Timm, "module": Module}
"""Everything that a preset of the group ``arch`` can be."""

__all__ = [
    "FAMILIES",
    "KINDS",
    "Arch",
    "Counts",
    "External",
    "Hybrid",
    "Module",
    "Pool",
    "ResNet",
    "Root",
    "Timm",
    "ViT",
    "hidden",
    "stem_width",
    "units",
]
