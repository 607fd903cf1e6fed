"""Crops, vectorised: a window of the padded image, and the random resized ("Inception") crop.

Suffixes: B batch, C channels, H height, W width, T tries.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.data import draws

TRIES = 10
ASPECT = (3 / 4, 4 / 3)


def pad_crop(images_BCHW: Tensor, padding: int, dx_B: Tensor, dy_B: Tensor) -> Tensor:
    """Windows of the original size out of the zero-padded images, from column ``dx_B`` and row ``dy_B`` on."""
    b, _, h, w = images_BCHW.shape
    windows = F.pad(images_BCHW, (padding,) * 4).unfold(2, h, 1).unfold(3, w, 1)
    return windows[torch.arange(b, device=images_BCHW.device), :, dy_B, dx_B]


def resized_crop(images_BCHW: Tensor, boxes_B4: Tensor) -> Tensor:
    """Boxes (top, left, height, width in pixels, inside the image) enlarged bilinearly to the whole; keeps uint8."""
    _, _, h, w = images_BCHW.shape
    top_B, left_B, high_B, wide_B = boxes_B4.to(torch.float32).unbind(1)
    x_BW = _sources(left_B, wide_B, w)
    y_BH = _sources(top_B, high_B, h)
    rows = _blend_rows(images_BCHW.to(torch.float32), y_BH)
    out = _blend_rows(rows.transpose(2, 3), x_BW).transpose(2, 3)
    return out.round().to(torch.uint8) if images_BCHW.dtype == torch.uint8 else out


def _sources(start_B: Tensor, length_B: Tensor, side: int) -> Tensor:
    """Where the centres of ``side`` output pixels lie in the input, clamped to the box as if it were the image."""
    centre = (torch.arange(side, device=start_B.device) + 0.5) / side
    inside = (centre[None] * length_B[:, None] - 0.5).clamp(min=0)
    return start_B[:, None] + torch.minimum(inside, length_B[:, None] - 1)


def _blend_rows(images_BCHW: Tensor, y_BH: Tensor) -> Tensor:
    """Rows at fractional positions, linear between the two neighbours."""
    _, c, h, w = images_BCHW.shape
    low_BH = y_BH.floor().long()
    share_BH = (y_BH - low_BH)[:, None, :, None]
    index = low_BH[:, None, :, None].expand(-1, c, -1, w)
    above = images_BCHW.gather(2, index)
    below = images_BCHW.gather(2, (index + 1).clamp(max=h - 1))
    return above + (below - above) * share_BH


def draw_boxes(seed: int, counters_B: Tensor, stream: int, h: int, w: int, smallest: float) -> Tensor:
    """(B, 4) int64 boxes (top, left, height, width) with the distribution of torchvision's RandomResizedCrop.

    Area uniform between ``smallest`` and 1 of the image, aspect log-uniform in 3/4 to 4/3; ten tries to fit the image,
    then the largest centred box of an allowed aspect. Uses ``2 * TRIES + 2`` streams from ``stream`` on.
    """
    area = [smallest + (1 - smallest) * draws.uniforms(seed, counters_B, stream + t) for t in range(TRIES)]
    low, high = (math.log(a) for a in ASPECT)
    tilt = [low + (high - low) * draws.uniforms(seed, counters_B, stream + TRIES + t) for t in range(TRIES)]
    area_BT, aspect_BT = torch.stack(area, 1) * (h * w), torch.stack(tilt, 1).exp()
    wide_BT, high_BT = (area_BT * aspect_BT).sqrt().round().long(), (area_BT / aspect_BT).sqrt().round().long()
    fits_BT = (wide_BT > 0) & (wide_BT <= w) & (high_BT > 0) & (high_BT <= h)
    first_B = fits_BT.to(torch.int8).argmax(1, keepdim=True)
    found_B = fits_BT.any(1)
    fallback_h, fallback_w = _largest(h, w)
    wide_B = torch.where(found_B, wide_BT.gather(1, first_B)[:, 0], fallback_w)
    high_B = torch.where(found_B, high_BT.gather(1, first_B)[:, 0], fallback_h)
    y_B, x_B = (draws.uniforms(seed, counters_B, stream + 2 * TRIES + i) for i in (0, 1))
    top_B = torch.where(found_B, (y_B * (h - high_B + 1)).long(), (h - fallback_h) // 2)
    left_B = torch.where(found_B, (x_B * (w - wide_B + 1)).long(), (w - fallback_w) // 2)
    return torch.stack([top_B, left_B, high_B, wide_B], 1)


def _largest(h: int, w: int) -> tuple[int, int]:
    """Height and width of the largest box of an allowed aspect."""
    if w / h < ASPECT[0]:
        return round(w / ASPECT[0]), w
    if w / h > ASPECT[1]:
        return h, round(h * ASPECT[1])
    return h, w
