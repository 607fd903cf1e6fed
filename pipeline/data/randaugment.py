"""RandAugment (Cubuk et al., arXiv 1909.13719) by torchvision's own kernels, drawn per sample.

Which operation and which sign a sample gets is a pure function of its counter; samples with the same pair go through
torchvision's functional kernel together. The space, the strengths and the nearest-neighbour interpolation with a black
fill are those of ``torchvision.transforms.v2.RandAugment``. Suffixes: B batch, C channels, H height, W width.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pipeline.data import draws

BINS = 31
Operation = Callable[[Tensor, float], Tensor]
"""(uint8 images, signed strength) to images."""


def _shear(images: Tensor, strength: float, axis: int) -> Tensor:
    from torchvision.transforms.v2 import functional as tv

    degrees = [0.0, 0.0]
    degrees[axis] = math.degrees(math.atan(strength))
    return tv.affine(images, 0.0, [0, 0], 1.0, degrees, center=[0, 0])


def _translate(images: Tensor, strength: float, axis: int) -> Tensor:
    from torchvision.transforms.v2 import functional as tv

    pixels = [0.0, 0.0]
    pixels[axis] = float(int(strength))
    return tv.affine(images, 0.0, pixels, 1.0, [0.0, 0.0])


def _kernel(images: Tensor, strength: float, name: str) -> Tensor:
    from torchvision.transforms.v2 import functional as tv

    match name:
        case "rotate":
            return tv.rotate(images, strength)
        case "brightness" | "contrast" | "saturation" | "sharpness":
            return getattr(tv, f"adjust_{name}")(images, 1.0 + strength)
        case "posterize":
            return tv.posterize(images, bits=int(strength))
        case "solarize":
            return tv.solarize(images, threshold=strength)
        case _:
            return getattr(tv, name)(images)


def operations(side_h: int, side_w: int) -> list[tuple[Operation, list[float], bool]]:
    """(operation, strength of each magnitude from 0 to 30, signed) of the fourteen operations."""

    def up_to(top: float) -> list[float]:
        return torch.linspace(0.0, top, BINS).tolist()

    none = [0.0] * BINS
    made: list[tuple[Operation, list[float], bool]] = [(lambda x, _: x, none, False)]
    made += [(partial(_shear, axis=axis), up_to(0.3), True) for axis in (0, 1)]
    made += [
        (partial(_translate, axis=axis), up_to(150.0 / 331.0 * side), True)
        for axis, side in enumerate((side_w, side_h))
    ]
    made += [(partial(_kernel, name="rotate"), up_to(30.0), True)]
    blends = ("brightness", "saturation", "contrast", "sharpness")
    made += [(partial(_kernel, name=n), up_to(0.9), True) for n in blends]
    made += [(partial(_kernel, name="posterize"), [8.0 - round(m / ((BINS - 1) / 4)) for m in range(BINS)], False)]
    made += [(partial(_kernel, name="solarize"), torch.linspace(1.0, 0.0, BINS).mul(255.0).tolist(), False)]
    made += [(partial(_kernel, name=n), none, False) for n in ("autocontrast", "equalize")]
    return made


def randaugment(images_BCHW: Tensor, seed: int, counters_B: Tensor, stream: int, layers: int, magnitude: int) -> Tensor:
    """``layers`` random operations on each uint8 image; uses ``layers`` streams from ``stream`` on."""
    space = operations(*images_BCHW.shape[-2:])
    for layer in range(layers):
        drawn_B = draws.integers(seed, counters_B, stream + layer) >> 8
        choice_B, negative_B = drawn_B % len(space), (drawn_B >> 40) % 2
        result = images_BCHW.clone()
        for code in torch.unique(choice_B * 2 + negative_B).tolist():
            operation, strengths, signed = space[code // 2]
            value = -strengths[magnitude] if code % 2 and signed else strengths[magnitude]
            chosen = (choice_B * 2 + negative_B) == code
            result[chosen] = operation(images_BCHW[chosen], value)
        images_BCHW = result
    return images_BCHW
