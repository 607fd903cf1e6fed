"""Crops against torchvision: pixel by pixel for given boxes, and in distribution."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from pipeline.data import draws
from pipeline.data.augment import BOXES, augment
from pipeline.data.crop import draw_boxes, pad_crop, resized_crop, sampled_crop
from pipeline.recipe import Recipe


def noise(count: int, h: int, w: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, h, w), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@settings(max_examples=60)
@given(st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]), st.data())
def test_a_crop_is_torchvisions(h: int, w: int, channels: int, data: st.DataObject) -> None:
    high, wide = data.draw(st.integers(1, h)), data.draw(st.integers(1, w))
    top, left = data.draw(st.integers(0, h - high)), data.draw(st.integers(0, w - wide))
    images = noise(2, h, w)[:, :channels]
    boxes = torch.tensor([[top, left, high, wide], [0, 0, h, w]])
    theirs = tv.resized_crop(images[0], top, left, high, wide, [h, w], antialias=True)
    assert torch.equal(resized_crop(images, boxes), torch.stack([theirs, images[1]]))
    sampled = sampled_crop(images, boxes)
    assert torch.equal(sampled[1], images[1])
    assert (sampled[0].int() - theirs.int()).abs().max() <= 1
    in_floats = tv.resized_crop(images[0].float(), top, left, high, wide, [h, w], antialias=False)
    assert (sampled[0] - in_floats).abs().max() <= 0.501


@settings(max_examples=60)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 5), st.sampled_from([1, 3]), st.data())
def test_a_window_is_a_slice_of_the_padded_image(h: int, w: int, p: int, channels: int, data: st.DataObject) -> None:
    x, y = data.draw(st.integers(0, 2 * p)), data.draw(st.integers(0, 2 * p))
    images = noise(2, h, w)[:, :channels]
    dx, dy = torch.tensor([x, p]), torch.tensor([y, p])
    window = tv.crop(tv.pad(images[0], [p]), y, x, h, w)
    assert torch.equal(pad_crop(images, p, dx, dy), torch.stack([window, images[1]]))
    planar_last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(pad_crop(planar_last, p, dx, dy), torch.stack([window, images[1]]))


@pytest.mark.parametrize(("h", "w", "smallest"), [(32, 32, 0.05), (16, 48, 0.3), (60, 25, 0.5), (224, 224, 0.08)])
def test_boxes_have_torchvisions_distribution(h: int, w: int, smallest: float) -> None:
    """Enough draws to tell an aspect that is uniform from one whose logarithm is."""
    boxes = draw_boxes(3, torch.arange(DRAWN), 1, h, w, smallest)
    top, left, high, wide = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + high <= h).all()
    assert (left + wide <= w).all()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        crop, image = RandomResizedCrop((h, w), scale=(smallest, 1.0)), torch.empty(3, h, w)
        drawn = [crop.make_params([image]) for _ in range(DRAWN)]
    theirs = torch.tensor([[d[name] for name in ("top", "left", "height", "width")] for d in drawn])
    for mine, other, name in zip(measures(boxes), measures(theirs), MEASURES, strict=True):
        test: Any = stats.ks_2samp(mine.numpy(), other.numpy())
        assert test.pvalue > 1e-3, name


DRAWN = 12_000
MEASURES = ("top", "left", "height", "width", "area", "aspect", "height of the middle", "column of the middle")


def measures(boxes: torch.Tensor) -> list[torch.Tensor]:
    top, left, high, wide = boxes.T
    return [top, left, high, wide, high * wide, wide / high, 2 * top + high, 2 * left + wide]


@settings(max_examples=40)
@given(st.integers(0, 2**31), st.integers(0, 2**40), st.integers(1, 20), st.floats(0.01, 1.0))
def test_boxes_of_many_sizes_are_those_of_each(seed: int, first: int, count: int, smallest: float) -> None:
    counters = torch.arange(first, first + count)
    h, w = (1 + draws.integers(9, counters, stream) % 40 for stream in (0, 1))
    together = draw_boxes(seed, counters, 1, h, w, smallest)
    alone = [draw_boxes(seed, counters[i : i + 1], 1, int(h[i]), int(w[i]), smallest) for i in range(count)]
    assert torch.equal(together, torch.cat(alone))


def test_boxes_never_move() -> None:
    """Recorded once: a change here would make old and new results differ in secret."""
    assert draw_boxes(3, torch.tensor([0, 1, 2**40]), 1, 224, 224, 0.08).tolist() == GOLDEN
    assert draw_boxes(3, torch.tensor([0, 1, 2**40]), 1, 100, 333, 0.95).tolist() == [[0, 100, 100, 133]] * 3
    assert draw_boxes(3, torch.tensor([0, 1, 2**40]), 1, 333, 100, 0.95).tolist() == [[100, 0, 133, 100]] * 3


def test_an_inception_crop_keeps_the_batch_apart() -> None:
    images, counters = noise(8, 12, 12), torch.arange(8)
    recipe = Recipe(crop_area=0.1, crop_padding=0)
    whole = augment(images, 1, counters, recipe)
    assert torch.equal(whole[5:], augment(images[5:], 1, counters[5:], recipe))
    assert whole.shape == (8, 3, 12, 12)
    assert whole.min() >= -1
    assert whole.max() <= 1


def test_images_that_were_cropped_are_not_cropped_again() -> None:
    images, counters = noise(8, 12, 12), torch.arange(8)
    recipe = Recipe(crop_area=0.1, crop_padding=0)
    cropped = resized_crop(images, draw_boxes(1, counters, BOXES, 12, 12, 0.1))
    assert torch.equal(augment(cropped, 1, counters, recipe, cropped=True), augment(images, 1, counters, recipe))


GOLDEN = [[4, 38, 173, 140], [9, 14, 211, 191], [10, 0, 210, 175]]
