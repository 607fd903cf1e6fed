"""Colour jitter: brightness, contrast, saturation and hue, drawn per sample, as torchvision's ColorJitter.

The kernels are those of ``torchvision.transforms.v2.functional``, with a factor for every image in place of one for
all. Suffixes: B batch, C channels, H height, W width, N images of a group.
"""

import torch
from torch import Tensor

from pipeline.data import draws, groups


def brightness(images: Tensor, factor_N: Tensor) -> Tensor:
    return to_bytes(images * _spread(factor_N))


def contrast(images: Tensor, factor_N: Tensor) -> Tensor:
    """Away from the mean of the grey image."""
    level = grey(images)
    level.copy_(level.mean((1, 2, 3), keepdim=True, dtype=torch.float64))  # exact, so the same in any batch
    return _blend(images, level, factor_N)


def saturation(images: Tensor, factor_N: Tensor) -> Tensor:
    """Away from the grey image; a grey image stays."""
    return images if images.shape[1] == 1 else _blend(images, grey(images), factor_N)


def hue(images: Tensor, turn_N: Tensor) -> Tensor:
    """Turned round the colour circle, of which 1 is the whole; a grey image stays.

    The hexcone of torchvision's kernel by a shorter formula, which rounds elsewhere: about one value in 100,000
    differs, by one level.
    """
    if images.shape[1] == 1:
        return images
    red, green, blue = images.unbind(1)
    high, low = torch.maximum(torch.maximum(red, green), blue), torch.minimum(torch.minimum(red, green), blue)
    r, g, b, value, chroma = (x.to(torch.float32) for x in (red, green, blue, high, high - low))
    is_red = high == red
    is_green = (high == green) & ~is_red
    sixths = is_red * (g - b) + is_green * (b - r + 2 * chroma) + ~(is_red | is_green) * (r - g + 4 * chroma)
    angle = sixths / (6 * chroma).clamp_(min=1) + 1 + _spread(turn_N)[:, 0]
    turned = angle[:, None] + torch.tensor([5 / 6, 3 / 6, 1 / 6], device=angle.device)[:, None, None]
    share = turned.frac_().sub_(1 / 3).abs_().mul_(-6).add_(2).clamp_(0, 1)
    return to_bytes((value[:, None] - chroma[:, None] * share).mul_(255.999 / 255))


def grey(images: Tensor) -> Tensor:
    """Luma in whole levels, float32 (N, 1, H, W)."""
    if images.shape[1] == 1:
        return images.to(torch.float32)
    r, g, b = images.unbind(1)
    return r.mul(0.2989).add_(g, alpha=0.587).add_(b, alpha=0.114).floor_()[:, None]


def _blend(images: Tensor, other: Tensor, factor_N: Tensor) -> Tensor:
    """``factor`` of the images and the rest of the other."""
    return to_bytes((images * _spread(factor_N)).addcmul_(other, _spread(1.0 - factor_N)))


def _spread(values_N: Tensor) -> Tensor:
    """(N, 1, 1, 1), rounded to float32 last, as a Python number would be."""
    return values_N.to(torch.float32)[:, None, None, None]


def to_bytes(values: Tensor) -> Tensor:
    """Cut to whole levels; by way of int16, since torch goes from float32 straight to uint8 one by one."""
    return values.clamp_(0, 255).to(torch.int16).to(torch.uint8)


KERNELS = (brightness, contrast, saturation, hue)


def draw_factors(seed: int, counters_B: Tensor, stream: int, strength: float, turn: float) -> Tensor:
    """(B, 4) float64, one of each of ``KERNELS``: three factors uniform in [max(0, 1 - strength), 1 + strength] and a
    turn in [-turn, turn]. Uses 4 streams from ``stream`` on."""
    low, high = max(0.0, 1.0 - strength), 1.0 + strength
    drawn = draws.uniforms_of(seed, counters_B, stream, 4)
    return torch.cat([low + (high - low) * drawn[:, :3], turn * (2.0 * drawn[:, 3:] - 1.0)], 1)


def draw_orders(seed: int, counters_B: Tensor, stream: int, numbers: list[int]) -> Tensor:
    """The ``numbers`` of ``KERNELS`` in random order for each image, (B, len(numbers)) int64. Uses 4 streams."""
    drawn = draws.uniforms_of(seed, counters_B, stream, len(KERNELS))[:, numbers]
    return torch.tensor(numbers, device=drawn.device)[drawn.argsort(1)]


def jitter(images_BCHW: Tensor, factors_B4: Tensor, orders: Tensor) -> Tensor:
    """uint8 images, each through the kernels that its row of ``orders`` names, from left to right."""
    for choice_B in orders.unbind(1):
        values_B = factors_B4.gather(1, choice_B[:, None])[:, 0]
        images_BCHW = groups.apply(KERNELS, images_BCHW, choice_B, values_B)
    return images_BCHW


def colour_jitter(
    images_BCHW: Tensor, seed: int, counters_B: Tensor, stream: int, strength: float, turn: float
) -> Tensor:
    """Random brightness, contrast and saturation (``strength``) and hue (``turn``), in a random order: torchvision's
    ``ColorJitter(strength, strength, strength, turn)``. Uses 8 streams from ``stream`` on."""
    numbers = ([0, 1, 2] if strength else []) + ([3] if turn else [])
    factors_B4 = draw_factors(seed, counters_B, stream, strength, turn)
    return jitter(images_BCHW.contiguous(), factors_B4, draw_orders(seed, counters_B, stream + 4, numbers))
