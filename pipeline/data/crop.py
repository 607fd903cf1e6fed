"""Crops of a batch: a window of the padded image, and the random resized ("Inception") crop.

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
    b, c, h, w = images_BCHW.shape
    high, wide = h + 2 * padding, w + 2 * padding
    padded_BHWC = images_BCHW.new_zeros(b, high, wide, c)
    padded_BHWC[:, padding : padding + h, padding : padding + w] = images_BCHW.permute(0, 2, 3, 1)
    first_B = (torch.arange(b, device=dx_B.device) * high + dy_B) * wide + dx_B
    pixels = first_B[:, None] + torch.arange(h, device=dx_B.device) * wide
    stretches = padded_BHWC.flatten().unfold(0, w * c, c)  # a row's length from every pixel on
    return stretches.index_select(0, pixels.flatten()).view(b, h, w, c).permute(0, 3, 1, 2)


def resized_crop(images_BCHW: Tensor, boxes_B4: Tensor) -> Tensor:
    """uint8 boxes (top, left, height, width in pixels, inside the image) enlarged bilinearly to the whole.

    On the CPU by torchvision's kernel for bytes, image by image: faster than all at once, and its pixels exactly.
    Elsewhere in float32, which rounds once where that kernel rounds after each direction: within one level.
    """
    size = images_BCHW.shape[-2:]
    if images_BCHW.device.type != "cpu":
        return sampled_crop(images_BCHW, boxes_B4)
    crops = [
        images_BCHW[i : i + 1, :, top : top + high, left : left + wide]
        for i, (top, left, high, wide) in enumerate(boxes_B4.tolist())
    ]
    return torch.cat([F.interpolate(crop, size, mode="bilinear", antialias=True) for crop in crops])


def sampled_crop(images_BCHW: Tensor, boxes_B4: Tensor) -> Tensor:
    """``resized_crop`` of all images at once."""
    h, w = images_BCHW.shape[-2:]
    top_B, left_B, high_B, wide_B = boxes_B4.to(torch.float32).unbind(1)
    y_BH, x_BW = _sources(top_B, high_B, h), _sources(left_B, wide_B, w)
    grid_BHW2 = torch.stack([x_BW[:, None, :].expand(-1, h, -1), y_BH[:, :, None].expand(-1, -1, w)], 3)
    sampled = F.grid_sample(images_BCHW.to(torch.float32), grid_BHW2, padding_mode="border", align_corners=False)
    return sampled.round_().to(torch.uint8)


def _sources(start_B: Tensor, length_B: Tensor, side: int) -> Tensor:
    """Where the centres of ``side`` output pixels lie in the input, of which -1 to 1 is the whole; clamped to the box
    as if it were the image."""
    centre = (torch.arange(side, device=start_B.device) + 0.5) / side
    inside = (centre[None] * length_B[:, None] - 0.5).clamp(min=0)
    return (start_B[:, None] + torch.minimum(inside, length_B[:, None] - 1)) * (2 / side) + (1 / side - 1)


def draw_boxes(seed: int, counters_B: Tensor, stream: int, h: int | Tensor, w: int | Tensor, smallest: float) -> Tensor:
    """(B, 4) int64 boxes (top, left, height, width) with the distribution of torchvision's RandomResizedCrop.

    Area uniform between ``smallest`` and 1 of the image, aspect log-uniform in 3/4 to 4/3; ten tries to fit the image,
    then the largest centred box of an allowed aspect. ``h`` and ``w`` are those of all images, or int64 (B,).
    Uses ``2 * TRIES + 2`` streams from ``stream`` on.
    """
    h_B, w_B = (torch.as_tensor(side, device=counters_B.device).expand(len(counters_B)) for side in (h, w))
    drawn = draws.uniforms_of(seed, counters_B, stream, 2 * TRIES + 2)
    low, high = (math.log(aspect) for aspect in ASPECT)
    area_BT = (smallest + (1 - smallest) * drawn[:, :TRIES]) * (h_B * w_B)[:, None]
    aspect_BT = (low + (high - low) * drawn[:, TRIES : 2 * TRIES]).exp()
    wide_BT, high_BT = (area_BT * aspect_BT).sqrt().round().long(), (area_BT / aspect_BT).sqrt().round().long()
    fits_BT = (wide_BT > 0) & (wide_BT <= w_B[:, None]) & (high_BT > 0) & (high_BT <= h_B[:, None])
    found_B, first_B1 = fits_BT.any(1), fits_BT.to(torch.int8).argmax(1, keepdim=True)
    largest_high_B = torch.minimum(h_B, (w_B.double() / ASPECT[0]).round().long())
    largest_wide_B = torch.minimum(w_B, (h_B.double() * ASPECT[1]).round().long())
    high_B = torch.where(found_B, high_BT.gather(1, first_B1)[:, 0], largest_high_B)
    wide_B = torch.where(found_B, wide_BT.gather(1, first_B1)[:, 0], largest_wide_B)
    top_B = _place(drawn[:, -2], found_B, h_B - high_B)
    left_B = _place(drawn[:, -1], found_B, w_B - wide_B)
    return torch.stack([top_B, left_B, high_B, wide_B], 1)


def _place(drawn_B: Tensor, found_B: Tensor, room_B: Tensor) -> Tensor:
    """Where the box begins: anywhere with equal chance, or in the middle."""
    return torch.where(found_B, (drawn_B * (room_B + 1)).long(), room_B // 2)
