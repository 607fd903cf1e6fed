"""Augmentation on the device, from uint8: pad-crop and flip drawn per global sample, then scaled to [-1, 1].

The parameters are a pure function of (seed, global sample counter), so they do not depend on batches or workers.
Suffixes: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

MASK = (1 << 62) - 1


def normalise(images_BCHW: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1], as in the paper's code: no mean, no deviation."""
    return images_BCHW.to(torch.float32).mul_(2.0 / 255.0).sub_(1.0)


def augment(images_BCHW: Tensor, seed: int, counters_B: Tensor, crop_padding: int, flip: bool) -> Tensor:
    """uint8 to float32 in [-1, 1]: a window of the image padded with ``crop_padding`` black pixels, mirrored half the
    time if ``flip``. ``counters_B`` are the global sample counters, int64."""
    draws_B = _hash(counters_B, seed)
    if crop_padding:
        side = 2 * crop_padding + 1
        dx_B, dy_B = draws_B % side, torch.div(draws_B, side, rounding_mode="floor") % side
        images_BCHW = _crop(images_BCHW, crop_padding, dx_B, dy_B)
    if flip:
        mirrored_B = ((draws_B >> 40) & 1).bool()
        images_BCHW = torch.where(mirrored_B[:, None, None, None], images_BCHW.flip(3), images_BCHW)
    return normalise(images_BCHW)


def _crop(images_BCHW: Tensor, padding: int, dx_B: Tensor, dy_B: Tensor) -> Tensor:
    """Windows of the original size out of the zero-padded images."""
    b, _, h, w = images_BCHW.shape
    windows = pad(images_BCHW, (padding,) * 4).unfold(2, h, 1).unfold(3, w, 1)
    return windows[torch.arange(b, device=images_BCHW.device), :, dy_B, dx_B]


def _hash(counters_B: Tensor, seed: int) -> Tensor:
    """Non-negative 62-bit integers, one per counter: the splitmix64 finaliser, in wrapping int64."""
    x = counters_B.to(torch.int64) + _signed(0x9E3779B97F4A7C15 * (seed + 1))
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return (x ^ _shift(x, 31)) & MASK


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
