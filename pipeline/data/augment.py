"""Augmentation on the device, from uint8: crop, flip and RandAugment drawn per global sample, then scaled to [-1, 1].

The parameters are a pure function of (seed, global sample counter), so they do not depend on batches or workers.
Suffixes: B batch, C channels, H height, W width.
"""

import torch
from torch import Tensor

from pipeline.data import draws
from pipeline.data.crop import draw_boxes, pad_crop, resized_crop
from pipeline.data.randaugment import randaugment
from pipeline.recipe import Recipe

BOXES, RANDAUGMENT, MIXUP = 1, 100, 200
"""First streams of the draws; 0 is pad-crop and flip."""


def normalise(images_BCHW: Tensor) -> Tensor:
    """uint8 to float32 in [-1, 1], as in the paper's code: no mean, no deviation."""
    return images_BCHW.to(torch.float32).mul_(2.0 / 255.0).sub_(1.0)


def augment(images_BCHW: Tensor, seed: int, counters_B: Tensor, recipe: Recipe) -> Tensor:
    """uint8 to float32 in [-1, 1], by the recipe's crops, flip and RandAugment, in this order.

    ``counters_B`` are the global sample counters, int64.
    """
    draws_B = draws.integers(seed, counters_B)
    if recipe.crop_area:
        h, w = images_BCHW.shape[-2:]
        images_BCHW = resized_crop(images_BCHW, draw_boxes(seed, counters_B, BOXES, h, w, recipe.crop_area))
    if recipe.crop_padding:
        side = 2 * recipe.crop_padding + 1
        dx_B, dy_B = draws_B % side, torch.div(draws_B, side, rounding_mode="floor") % side
        images_BCHW = pad_crop(images_BCHW, recipe.crop_padding, dx_B, dy_B)
    if recipe.flip:
        mirrored_B = ((draws_B >> 40) & 1).bool()
        images_BCHW = torch.where(mirrored_B[:, None, None, None], images_BCHW.flip(3), images_BCHW)
    if recipe.randaugment_layers:
        layers, magnitude = recipe.randaugment_layers, recipe.randaugment_magnitude
        images_BCHW = randaugment(images_BCHW, seed, counters_B, RANDAUGMENT, layers, magnitude)
    return normalise(images_BCHW)
