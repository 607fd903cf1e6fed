"""RandAugment (Cubuk et al., arXiv 1909.13719), drawn per sample, with the pixels of torchvision's kernels.

Which operation and which sign a sample gets is a pure function of its counter. The space, the strengths and the
nearest-neighbour interpolation with a black fill are those of ``torchvision.transforms.v2.RandAugment``. Suffixes:
B batch, N images of a group, C channels, H height, W width, M moves, P pixels.
"""

import math
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.data import draws, groups
from pipeline.data.colour import brightness, contrast, saturation, to_bytes

BINS = 31
MOVES = ("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
BLENDS = ("Brightness", "Color", "Contrast", "Sharpness")
OPERATIONS = (*MOVES, *BLENDS, "Posterize", "Solarize", "AutoContrast", "Equalize")


def randaugment(images_BCHW: Tensor, seed: int, counters_B: Tensor, stream: int, layers: int, magnitude: int) -> Tensor:
    """``layers`` random operations on each uint8 image; uses ``layers`` streams from ``stream`` on."""
    for layer in range(layers):
        drawn_B = draws.integers(seed, counters_B, stream + layer) >> 8
        images_BCHW = operate(images_BCHW, drawn_B % len(OPERATIONS), (drawn_B >> 40) % 2, magnitude)
    return images_BCHW


def operate(images_BCHW: Tensor, choice_B: Tensor, negative_B: Tensor, magnitude: int) -> Tensor:
    """Of ``OPERATIONS``, the chosen one on each image, with negative strength where told so, if it has a sign."""
    from torchvision.transforms.v2 import functional as tv

    bits = 8 - round(magnitude * 4 / (BINS - 1))
    kernels = (
        partial(_move, magnitude=magnitude),
        *(brightness, saturation, contrast, _sharpness),
        lambda images, _: tv.posterize(images, bits),
        partial(_solarize, threshold=float(torch.linspace(1.0, 0.0, BINS).mul(255.0)[magnitude])),
        lambda images, _: tv.autocontrast(images),
        lambda images, _: tv.equalize(images),
    )
    factor_B = 1.0 + _strength(0.9, magnitude) * (1 - 2 * negative_B.to(torch.float64))
    values_B = torch.where(choice_B < len(MOVES), 2.0 * choice_B + negative_B, factor_B)
    kernel_B = (choice_B - len(MOVES) + 1).clamp(min=0)  # all moves are one kernel
    return groups.apply(kernels, images_BCHW.contiguous(), kernel_B, values_B)


def _strength(top: float, magnitude: int) -> float:
    """Of ``BINS`` strengths up to ``top``."""
    return float(torch.linspace(0.0, top, BINS)[magnitude])


def _move(images: Tensor, row_N: Tensor, magnitude: int) -> Tensor:
    """Pixels moved by rows of ``moves``: one gather for all moves."""
    source_MP = moves(*images.shape[-2:], magnitude, images.device)
    filled = F.pad(images.flatten(2), (0, 1))
    source_NP = source_MP.index_select(0, row_N.long())
    return filled.gather(2, source_NP[:, None].expand(-1, images.shape[1], -1)).view_as(images)


@lru_cache(maxsize=8)
def moves(h: int, w: int, magnitude: int, device: torch.device) -> Tensor:
    """Which pixel comes to every place, (M, P) int64, P where the fill does; rows 2 * move + negative.

    torchvision's own kernels move the numbers of the pixels, in float32 whatever the precision of the training.
    """
    numbers = torch.arange(1.0, h * w + 1).view(1, h, w)
    with torch.autocast("cpu", enabled=False):
        moved = [_moved(numbers, name, sign, magnitude) for name in MOVES for sign in (1, -1)]
    return (torch.stack(moved).flatten(1).long() - 1).remainder(h * w + 1).to(device)


def _moved(image: Tensor, name: str, sign: int, magnitude: int) -> Tensor:
    from torchvision.transforms.v2 import functional as tv

    h, w = image.shape[-2:]
    degrees = sign * math.degrees(math.atan(_strength(0.3, magnitude)))
    match name:
        case "ShearX":
            return tv.affine(image, 0.0, [0, 0], 1.0, [degrees, 0.0], center=[0, 0])
        case "ShearY":
            return tv.affine(image, 0.0, [0, 0], 1.0, [0.0, degrees], center=[0, 0])
        case "TranslateX":
            return tv.affine(image, 0.0, [sign * int(_strength(150.0 / 331.0 * w, magnitude)), 0], 1.0, [0.0, 0.0])
        case "TranslateY":
            return tv.affine(image, 0.0, [0, sign * int(_strength(150.0 / 331.0 * h, magnitude))], 1.0, [0.0, 0.0])
        case "Rotate":
            return tv.rotate(image, sign * _strength(30.0, magnitude))
        case _:
            return image


def _sharpness(images: Tensor, factor_N: Tensor) -> Tensor:
    """Away from the smoothed image, but for the rim. A smooth value is a whole number of thirteenths, so none lies
    half-way between two levels, and sums in any order round to torchvision's."""
    if min(images.shape[-2:]) <= 2:
        return images
    values = images.to(torch.float32)
    rows = values[:, :, :-2] + values[:, :, 1:-1] + values[:, :, 2:]
    inner = values[:, :, 1:-1, 1:-1]
    smooth = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * inner
    rest_N111 = (1.0 - factor_N).to(torch.float32)[:, None, None, None]
    inner.addcmul_(smooth.div_(13).round_().sub_(inner), rest_N111)
    return to_bytes(values)


def _solarize(images: Tensor, _: Tensor, threshold: float) -> Tensor:
    """Levels from the threshold on inverted, which in bytes is to turn every bit."""
    return images ^ (images >= math.ceil(threshold)).to(torch.uint8).neg_()
