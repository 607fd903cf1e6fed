"""Hybrid: a ResNet's feature map into a ViT encoder."""

from dataclasses import dataclass, field
from typing import ClassVar

from pipeline.arch.backbone import (
    Root,
    backbone_flops,
    backbone_params,
    check_backbone,
    feature_map,
    top_channels,
)
from pipeline.arch.base import Arch, require_positive
from pipeline.arch.encoder import Pool, check_encoder, encoder_flops, encoder_params
from pipeline.errors import BadInput


@dataclass
class Hybrid(Arch):
    """A ResNet's feature map, cut into patches of one pixel, goes into a ViT (arXiv 2010.11929, section 3.1).

    The stem is post-activation with a norm on the projection and pads as the paper's code does ("SAME"). (3, 4, 9)
    gives the stride 16 of R50+B/16, (3, 4, 6, 3) the 32 of R50+B/32, no stage and 8x8 patches R+Ti/16.
    """

    kind: ClassVar[str] = "hybrid"
    depths: list[int] = field(default_factory=lambda: [3, 4, 9])
    """Units per stage; none leaves the root alone."""
    stem_width: int = 64
    root: Root = Root.imagenet
    groups: int = 32
    depth: int = 12
    width: int = 768
    heads: int = 12
    mlp_ratio: float = 4.0
    pool: Pool = Pool.cls
    patch: int = field(default=1, metadata={"neutral": 1})
    """Side of a token, in pixels of the feature map."""
    pre_logits: bool = field(default=False, metadata={"neutral": False})
    """As for a ViT."""

    def check(self, image_size: int) -> None:
        require_positive(self, "stem_width", "groups", "patch", "depth", "width", "heads")
        check_backbone(self, image_size)
        side = feature_map(self.root, self.depths, image_size)
        if side % self.patch:
            raise BadInput(
                f"A patch of {self.patch} does not divide the {side} x {side} feature map of a {image_size} px image: "
                "change arch.patch."
            )
        check_encoder(self)

    def tokens(self, image_size: int) -> int:
        side = feature_map(self.root, self.depths, image_size) // self.patch
        return side**2 + (self.pool is Pool.cls)

    def params(self, image_size: int, channels: int, classes: int) -> int:
        embed = (top_channels(self) * self.patch**2 + 1) * self.width
        stem = backbone_params(self, channels, 2)
        return stem + embed + encoder_params(self, self.tokens(image_size), classes)

    def flops(self, image_size: int, channels: int, classes: int, padding: bool = True) -> int:
        stem, side = backbone_flops(self, image_size, channels, padding, same=True)
        embed = 2 * side**2 * top_channels(self) * self.width
        return stem + embed + encoder_flops(self, self.tokens(image_size), classes)
