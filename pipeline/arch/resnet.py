"""ResNet in the BiT manner."""

from dataclasses import dataclass, field
from typing import ClassVar

from pipeline.arch.backbone import Root, backbone_flops, backbone_params, check_backbone, top_channels
from pipeline.arch.base import Arch, require_positive
from pipeline.errors import BadInput


@dataclass
class ResNet(Arch):
    """Pre-activation bottlenecks with GroupNorm and standardised weights (BiT, arXiv 1912.11370)."""

    kind: ClassVar[str] = "resnet"
    depths: list[int] = field(default_factory=lambda: [3, 4, 6, 3])
    width: int = 64
    """Of the first stage before its x4 expansion; 64 x the BiT width multiplier. Doubles every stage."""
    root: Root = Root.imagenet
    groups: int = 32
    """Of GroupNorm; narrower layers use as many as divide them."""

    def check(self, image_size: int) -> None:
        require_positive(self, "width", "groups")
        if not self.depths:
            raise BadInput("arch.depths must list at least one positive number of units per stage, not [].")
        check_backbone(self, image_size)

    def params(self, image_size: int, channels: int, classes: int) -> int:
        top = top_channels(self)
        return backbone_params(self, channels, 0) + 2 * top + (top + 1) * classes

    def flops(self, image_size: int, channels: int, classes: int, padding: bool = True) -> int:
        return backbone_flops(self, image_size, channels, padding)[0] + 2 * top_channels(self) * classes
