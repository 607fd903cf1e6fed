"""The convolutional part of ResNet and Hybrid: its shape and counts in closed form."""

from enum import Enum
from typing import Protocol

from pipeline.arch.base import require_image
from pipeline.errors import BadInput


class Root(Enum):
    """How a ResNet begins: 7x7/2 and a 3x3/2 max-pool, or for small images one 3x3 convolution, stride 1 or 2."""

    imagenet = "imagenet"
    small = "small"
    half = "half"

    @property
    def stride(self) -> int:
        return {"imagenet": 4, "small": 1, "half": 2}[self.value]


class BackboneShape(Protocol):
    depths: list[int]
    width: int
    root: Root
    groups: int


def stem_width(arch: BackboneShape) -> int:
    """Channels of the root: a Hybrid's ``width`` is its encoder's."""
    return getattr(arch, "stem_width", arch.width)


def top_channels(arch: BackboneShape) -> int:
    """Channels of the feature map."""
    return stem_width(arch) * 4 * 2 ** (len(arch.depths) - 1) if arch.depths else stem_width(arch)


def units(arch: BackboneShape) -> list[tuple[int, int, int, int]]:
    """(channels in, middle channels, channels out, stride) of every bottleneck."""
    made, channels = [], stem_width(arch)
    for stage, depth in enumerate(arch.depths):
        middle = stem_width(arch) * 2**stage
        for unit in range(depth):
            made.append((channels, middle, 4 * middle, 2 if stage and unit == 0 else 1))
            channels = 4 * middle
    return made


def backbone_params(arch: BackboneShape, channels: int, post: int) -> int:
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


def backbone_flops(arch: BackboneShape, size: int, channels: int, padding: bool, same: bool = False) -> tuple[int, int]:
    """(FLOPs, side of the feature map). ``same`` pads as little as keeps ceil(size / stride), the odd pixel last."""
    kernel, stride = (7, 2) if arch.root is Root.imagenet else (3, arch.root.stride)
    side, taps = _conv(size, kernel, stride, padding, same)
    total = 2 * taps**2 * channels * stem_width(arch)
    if arch.root is Root.imagenet:
        side = (side + 1) // 2
    for c_in, middle, c_out, stride in units(arch):
        after, taps = _conv(side, 3, stride, padding, same)
        total += 2 * (side**2 * c_in * middle + taps**2 * middle**2 + after**2 * middle * c_out)
        if c_in != c_out or stride > 1:
            total += 2 * after**2 * c_in * c_out
        side = after
    return total, side


def _conv(size: int, kernel: int, stride: int, padding: bool, same: bool) -> tuple[int, int]:
    """(output size, kernel taps along one side over all outputs)."""
    out = -(-size // stride)
    if padding:
        return out, out * kernel
    before = max(0, (out - 1) * stride + kernel - size) // 2 if same else kernel // 2
    starts = [i * stride - before for i in range(out)]
    return out, sum(min(s + kernel, size) - max(s, 0) for s in starts)


def feature_map(root: Root, depths: list[int], size: int) -> int:
    """Side of the feature map in pixels. Raises BadInput when the image is smaller than the total stride."""
    stride = root.stride * 2 ** max(0, len(depths) - 1)
    if size < stride:
        raise BadInput(
            f"An image of {size} px is smaller than the total stride {stride} of this ResNet: use larger images, "
            "fewer stages (arch.depths) or arch.root=small."
        )
    side = size
    while stride > 1:
        side, stride = (side + 1) // 2, stride // 2
    return side


def check_backbone(arch: BackboneShape, image_size: int) -> None:
    """Raises BadInput when the convolutional part cannot be built or cannot learn."""
    depths, narrow = arch.depths, stem_width(arch)
    name = "stem_width" if hasattr(arch, "stem_width") else "width"
    if any(d < 1 for d in depths):
        raise BadInput(f"arch.depths must list at least one positive number of units per stage, not {depths}.")
    if narrow < 2:
        raise BadInput(f"arch.{name} must be at least 2: a kernel of a single weight cannot be standardised.")
    require_image(image_size)
    middle = narrow * 2 ** max(0, len(depths) - 1)
    if feature_map(arch.root, depths, image_size) == 1 and arch.groups % middle == 0:
        raise BadInput(
            f"At {image_size} px the last feature map is a single pixel, and {arch.groups} groups over {middle} "
            f"channels would normalise every value by itself: lower arch.groups or use larger images."
        )
