"""Arch: a family and its shape, with parameters and FLOPs in closed form. No torch.

FLOPs are forward FLOPs of one image at 2 per multiply-add; matrix products, convolutions and attention count,
element-wise work does not: exactly what ``torch.utils.flop_counter.FlopCounterMode`` counts on our modules. With
``padding=False`` only kernel taps that fall inside the image count, which reproduces the ResNet rows of Table 6 of
arXiv 2010.11929.
"""

import math
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar

from pipeline.errors import BadInput


class Pool(Enum):
    """What the head sees: the class token, or the mean of the patch tokens."""

    cls = "cls"
    mean = "mean"


class Root(Enum):
    """How a ResNet begins: 7x7/2 and a 3x3/2 max-pool, or for small images one 3x3 convolution, stride 1 or 2."""

    imagenet = "imagenet"
    small = "small"
    half = "half"

    @property
    def stride(self) -> int:
        return {"imagenet": 4, "small": 1, "half": 2}[self.value]


@dataclass
class Arch:
    """Base of all families."""

    family: ClassVar[str] = ""

    def check(self, image_size: int) -> None:
        """Raises BadInput when this shape cannot take images of that size."""
        raise NotImplementedError

    def params(self, image_size: int, channels: int, classes: int) -> int:
        raise NotImplementedError

    def flops(self, image_size: int, channels: int, classes: int, padding: bool = True) -> int:
        raise NotImplementedError


@dataclass
class ViT(Arch):
    """Pre-norm encoder on square patches (arXiv 2010.11929, section 3.1)."""

    family: ClassVar[str] = "vit"
    patch: int = 16
    depth: int = 12
    width: int = 768
    heads: int = 12
    mlp_ratio: float = 4.0
    pool: Pool = Pool.cls

    def check(self, image_size: int) -> None:
        _positive(self, "patch", "depth", "width", "heads")
        _image(image_size)
        if image_size % self.patch:
            raise BadInput(
                f"A patch of {self.patch} px does not divide an image of {image_size} px: choose arch.patch among "
                f"the divisors of {image_size}."
            )
        _encoder(self)

    def tokens(self, image_size: int) -> int:
        return (image_size // self.patch) ** 2 + (self.pool is Pool.cls)

    def params(self, image_size: int, channels: int, classes: int) -> int:
        embed = self.patch**2 * channels * self.width + self.width
        return embed + _encoder_params(self, self.tokens(image_size)) + (self.width + 1) * classes

    def flops(self, image_size: int, channels: int, classes: int, padding: bool = True) -> int:
        patches = (image_size // self.patch) ** 2
        embed = 2 * patches * self.patch**2 * channels * self.width
        return embed + _encoder_flops(self, self.tokens(image_size)) + 2 * self.width * classes


@dataclass
class ResNet(Arch):
    """Pre-activation bottlenecks with GroupNorm and standardised weights (BiT, arXiv 1912.11370)."""

    family: ClassVar[str] = "resnet"
    depths: list[int] = field(default_factory=lambda: [3, 4, 6, 3])
    width: int = 64
    """Of the first stage before its x4 expansion; 64 x the BiT width multiplier. Doubles every stage."""
    root: Root = Root.imagenet
    groups: int = 32
    """Of GroupNorm; narrower layers use as many as divide them."""

    def check(self, image_size: int) -> None:
        _positive(self, "width", "groups")
        _backbone(self, image_size)

    def params(self, image_size: int, channels: int, classes: int) -> int:
        top = _top(self)
        return _backbone_params(self, channels, 0) + 2 * top + (top + 1) * classes

    def flops(self, image_size: int, channels: int, classes: int, padding: bool = True) -> int:
        return _backbone_flops(self, image_size, channels, padding)[0] + 2 * _top(self) * classes


@dataclass
class Hybrid(Arch):
    """A ResNet's feature map, cut into 1x1 patches, goes into a ViT (arXiv 2010.11929, section 3.1).

    The stem is post-activation with a norm on the projection, as in the paper's code. (3, 4, 9) gives the stride 16
    of R50+B/16, (3, 4, 6, 3) the 32 of R50+B/32.
    """

    family: ClassVar[str] = "hybrid"
    depths: list[int] = field(default_factory=lambda: [3, 4, 9])
    stem_width: int = 64
    root: Root = Root.imagenet
    groups: int = 32
    depth: int = 12
    width: int = 768
    heads: int = 12
    mlp_ratio: float = 4.0
    pool: Pool = Pool.cls

    def check(self, image_size: int) -> None:
        _positive(self, "stem_width", "groups", "depth", "width", "heads")
        _backbone(self, image_size)
        _encoder(self)

    def tokens(self, image_size: int) -> int:
        return _feature_map(self.root, self.depths, image_size) ** 2 + (self.pool is Pool.cls)

    def params(self, image_size: int, channels: int, classes: int) -> int:
        stem = _backbone_params(self, channels, 2)
        embed = (_top(self) + 1) * self.width
        return stem + embed + _encoder_params(self, self.tokens(image_size)) + (self.width + 1) * classes

    def flops(self, image_size: int, channels: int, classes: int, padding: bool = True) -> int:
        stem, side = _backbone_flops(self, image_size, channels, padding)
        embed = 2 * side**2 * _top(self) * self.width
        return stem + embed + _encoder_flops(self, self.tokens(image_size)) + 2 * self.width * classes


FAMILIES: dict[str, type[Arch]] = {"vit": ViT, "hybrid": Hybrid, "resnet": ResNet}


def hidden(arch: ViT | Hybrid) -> int:
    """Width of the MLP."""
    return round(arch.width * arch.mlp_ratio)


def _encoder_params(arch: ViT | Hybrid, tokens: int) -> int:
    d, m = arch.width, hidden(arch)
    block = (4 * d * d + 4 * d) + (2 * d * m + m + d) + 4 * d
    return tokens * d + (d if arch.pool is Pool.cls else 0) + arch.depth * block + 2 * d


def _encoder_flops(arch: ViT | Hybrid, tokens: int) -> int:
    d, m = arch.width, hidden(arch)
    return 2 * arch.depth * (tokens * (4 * d * d + 2 * d * m) + 2 * tokens**2 * d)


def stem_width(arch: ResNet | Hybrid) -> int:
    return arch.width if isinstance(arch, ResNet) else arch.stem_width


def _top(arch: ResNet | Hybrid) -> int:
    return stem_width(arch) * 4 * 2 ** (len(arch.depths) - 1)


def units(arch: ResNet | Hybrid) -> list[tuple[int, int, int, int]]:
    """(channels in, middle channels, channels out, stride) of every bottleneck."""
    made, channels = [], stem_width(arch)
    for stage, depth in enumerate(arch.depths):
        middle = stem_width(arch) * 2**stage
        for unit in range(depth):
            made.append((channels, middle, 4 * middle, 2 if stage and unit == 0 else 1))
            channels = 4 * middle
    return made


def _backbone_params(arch: ResNet | Hybrid, channels: int, post: int) -> int:
    """Convolutions and norms; ``post`` is 2 (scale, bias) where norms follow their convolutions."""
    kernel = 49 if arch.root is Root.imagenet else 9
    total = kernel * channels * stem_width(arch) + post * stem_width(arch)
    for c_in, middle, c_out, stride in units(arch):
        total += c_in * middle + 9 * middle * middle + middle * c_out
        projected = c_in != c_out or stride > 1
        total += c_in * c_out if projected else 0
        total += 2 * (2 * middle + c_out) if post else 2 * (c_in + 2 * middle)
        total += 2 * c_out if post and projected else 0
    return total


def _backbone_flops(arch: ResNet | Hybrid, size: int, channels: int, padding: bool) -> tuple[int, int]:
    """(FLOPs, side of the feature map)."""
    width = stem_width(arch)
    if arch.root is Root.imagenet:
        side, taps = _conv(size, 7, 2, 3, padding)
        total = 2 * taps**2 * channels * width
        side = (side + 2 - 3) // 2 + 1
    else:
        side, taps = _conv(size, 3, arch.root.stride, 1, padding)
        total = 2 * taps**2 * channels * width
    for c_in, middle, c_out, stride in units(arch):
        after, taps = _conv(side, 3, stride, 1, padding)
        total += 2 * (side**2 * c_in * middle + taps**2 * middle**2 + after**2 * middle * c_out)
        if c_in != c_out or stride > 1:
            total += 2 * after**2 * c_in * c_out
        side = after
    return total, side


def _conv(size: int, kernel: int, stride: int, pad: int, padding: bool) -> tuple[int, int]:
    """(output size, kernel taps along one side over all outputs)."""
    out = (size + 2 * pad - kernel) // stride + 1
    if padding:
        return out, out * kernel
    starts = [i * stride - pad for i in range(out)]
    return out, sum(min(s + kernel, size) - max(s, 0) for s in starts)


def _feature_map(root: Root, depths: list[int], size: int) -> int:
    stride = root.stride * 2 ** (len(depths) - 1)
    if size < stride:
        raise BadInput(
            f"An image of {size} px is smaller than the total stride {stride} of this ResNet: use larger images, "
            "fewer stages (arch.depths) or arch.root=small."
        )
    side = size
    while stride > 1:
        side, stride = (side + 1) // 2, stride // 2
    return side


def _image(size: int) -> None:
    if size < 1:
        raise BadInput(f"An image needs at least one pixel: image_size must be positive, not {size}.")


def _backbone(arch: ResNet | Hybrid, image_size: int) -> None:
    """Raises BadInput when the convolutional part cannot be built or cannot learn."""
    depths, narrow = arch.depths, stem_width(arch)
    name = "width" if isinstance(arch, ResNet) else "stem_width"
    if not depths or any(d < 1 for d in depths):
        raise BadInput(f"arch.depths must list at least one positive number of units per stage, not {depths}.")
    if narrow < 2:
        raise BadInput(f"arch.{name} must be at least 2: a kernel of a single weight cannot be standardised.")
    _image(image_size)
    middle = narrow * 2 ** (len(depths) - 1)
    if _feature_map(arch.root, depths, image_size) == 1 and arch.groups % middle == 0:
        raise BadInput(
            f"At {image_size} px the last feature map is a single pixel, and {arch.groups} groups over {middle} "
            f"channels would normalise every value by itself: lower arch.groups or use larger images."
        )


def _encoder(arch: ViT | Hybrid) -> None:
    if arch.width % arch.heads:
        raise BadInput(f"{arch.heads} heads do not divide a width of {arch.width}: change arch.heads or arch.width.")
    if not (math.isfinite(arch.mlp_ratio) and hidden(arch) >= 1):
        raise BadInput(
            f"An arch.mlp_ratio of {arch.mlp_ratio} at a width of {arch.width} leaves the MLP no hidden unit: use 4."
        )


def _positive(arch: Arch, *names: str) -> None:
    for name in names:
        if not getattr(arch, name) > 0:
            raise BadInput(f"arch.{name} must be positive, not {getattr(arch, name)}.")
