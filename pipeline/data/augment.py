"""Augmentation on the device, from uint8: crop, flip, colour and RandAugment drawn per global sample, then scaled to
[-1, 1]; then mixup and CutMix of neighbours.

The parameters are a pure function of (seed, global sample counter), so they do not depend on batches or workers.
Suffixes: B batch, C channels, H height, W width, P pairs.
"""

import torch
from torch import Tensor

from pipeline.data import draws
from pipeline.data.colour import colour_jitter
from pipeline.data.crop import draw_boxes, pad_crop, resized_crop
from pipeline.data.cutmix import draw_cuts, outside
from pipeline.data.mixup import draw_weights, mix
from pipeline.data.randaugment import randaugment
from pipeline.recipe import Recipe

BOXES, COLOUR, RANDAUGMENT, MIXUP, CUTMIX, EITHER = 1, 50, 100, 200, 201, 210
"""First streams of the draws; 0 is pad-crop and flip."""


def normalise(images_BCHW: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1], as in the paper's code: no mean, no deviation."""
    return images_BCHW.to(torch.float32).mul_(2.0 / 255.0).sub_(1.0)


def augment(images_BCHW: Tensor, seed: int, counters_B: Tensor, recipe: Recipe, cropped: bool = False) -> Tensor:
    """uint8 to float32 in [-1, 1], by the recipe's crops, flip, colour and RandAugment, in this order.

    ``counters_B`` are the global sample counters, int64. ``cropped``: these are the boxes of ``draw_boxes`` for the
    stream ``BOXES`` already, brought to size.
    """
    if not len(counters_B):
        return normalise(images_BCHW)
    draws_B = draws.integers(seed, counters_B)
    if recipe.crop_area and not cropped:
        h, w = images_BCHW.shape[-2:]
        images_BCHW = resized_crop(images_BCHW, draw_boxes(seed, counters_B, BOXES, h, w, recipe.crop_area))
    if recipe.crop_padding:
        side = 2 * recipe.crop_padding + 1
        dx_B, dy_B = draws_B % side, torch.div(draws_B, side, rounding_mode="floor") % side
        images_BCHW = pad_crop(images_BCHW, recipe.crop_padding, dx_B, dy_B)
    if recipe.flip:
        images_BCHW = flip(images_BCHW, (draws_B >> 40) & 1)
    if recipe.colour or recipe.hue:
        images_BCHW = colour_jitter(images_BCHW, seed, counters_B, COLOUR, recipe.colour, recipe.hue)
    if recipe.randaugment_layers:
        layers, magnitude = recipe.randaugment_layers, recipe.randaugment_magnitude
        images_BCHW = randaugment(images_BCHW, seed, counters_B, RANDAUGMENT, layers, magnitude)
    return normalise(images_BCHW.contiguous(memory_format=torch.channels_last))


def flip(images_BCHW: Tensor, mirrored_B: Tensor) -> Tensor:
    """The mirror image of those with a 1 in ``mirrored_B``.

    All are turned, which waits for no device; on the CPU large ones are, one by one, which stays in its cache.
    """
    images_BHWC = images_BCHW.permute(0, 2, 3, 1)
    if images_BCHW.device.type == "cpu" and images_BCHW.shape[-1] > 64:
        turned = zip(images_BHWC, mirrored_B.tolist(), strict=True)
        return torch.stack([image.flip(1) if mirrored else image for image, mirrored in turned]).permute(0, 3, 1, 2)
    both = torch.cat([images_BHWC, images_BHWC.flip(2)])
    chosen_B = torch.arange(len(mirrored_B), device=both.device) + len(mirrored_B) * mirrored_B
    return both.index_select(0, chosen_B).permute(0, 3, 1, 2)


def mix_pairs(images_BCHW: Tensor, seed: int, counters_B: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor | None]:
    """(float images, mixed in pairs by the recipe's mixup and CutMix; the share (B,) of each sample's own label).

    None for the shares when the recipe mixes nothing. Raises ValueError when a pair is cut.
    """
    if not recipe.mixes_pairs:
        return images_BCHW, None
    h, w = images_BCHW.shape[-2:]
    share_P1HW = draw_shares(seed, counters_B[::2] // 2, h, w, recipe).to(images_BCHW.dtype)
    own_P = share_P1HW.mean((1, 2, 3), dtype=torch.float64).to(images_BCHW.dtype)
    return mix(images_BCHW, share_P1HW), own_P.repeat_interleave(2)


def draw_shares(seed: int, pairs_P: Tensor, h: int, w: int, recipe: Recipe) -> Tensor:
    """What a sample of each pair keeps of its pixels: (P, 1, H, W), or (P, 1, 1, 1) of mixup alone.

    With mixup and CutMix, every pair draws one of the two with equal chance.
    """
    if not recipe.cutmix:
        return draw_weights(seed, pairs_P, MIXUP, recipe.mixup)[:, None, None, None]
    kept_P1HW = outside(draw_cuts(seed, pairs_P, CUTMIX, h, w, recipe.cutmix), h, w)
    if not recipe.mixup:
        return kept_P1HW
    weight_P = draw_weights(seed, pairs_P, MIXUP, recipe.mixup).to(torch.float32)
    cut_P = draws.uniforms(seed, pairs_P, EITHER) < 0.5
    return torch.where(cut_P[:, None, None, None], kept_P1HW, weight_P[:, None, None, None])
