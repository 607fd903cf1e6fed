"""Crops against torchvision: pixel by pixel for given boxes, and in distribution."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from pipeline.data.augment import augment
from pipeline.data.crop import draw_boxes, resized_crop
from pipeline.recipe import Recipe


def noise(count: int, h: int, w: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, h, w), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@settings(max_examples=60)
@given(st.integers(1, 20), st.integers(1, 20), st.data())
def test_a_crop_is_torchvisions(h: int, w: int, data: st.DataObject) -> None:
    high, wide = data.draw(st.integers(1, h)), data.draw(st.integers(1, w))
    top, left = data.draw(st.integers(0, h - high)), data.draw(st.integers(0, w - wide))
    images = noise(2, h, w)
    boxes = torch.tensor([[top, left, high, wide]] * 2)
    theirs = tv.resized_crop(images, top, left, high, wide, [h, w], antialias=True)
    assert (resized_crop(images, boxes).int() - theirs.int()).abs().max() <= 1
    floats = images.float()
    expected = tv.resized_crop(floats, top, left, high, wide, [h, w], antialias=False)
    torch.testing.assert_close(resized_crop(floats, boxes), expected, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize(("h", "w", "smallest"), [(32, 32, 0.05), (32, 32, 0.9), (16, 48, 0.3), (224, 224, 0.08)])
def test_boxes_have_torchvisions_distribution(h: int, w: int, smallest: float) -> None:
    boxes = draw_boxes(3, torch.arange(4000), 1, h, w, smallest)
    top, left, high, wide = boxes.T
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + high <= h).all()
    assert (left + wide <= w).all()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        crop = RandomResizedCrop((h, w), scale=(smallest, 1.0))
        drawn = [crop.make_params([torch.empty(3, h, w)]) for _ in range(4000)]
    for mine, name in ((top, "top"), (left, "left"), (high, "height"), (wide, "width")):
        test: Any = stats.ks_2samp(mine.numpy(), [d[name] for d in drawn])
        assert test.pvalue > 1e-3, name


def test_an_inception_crop_keeps_the_batch_apart() -> None:
    images, counters = noise(8, 12, 12), torch.arange(8)
    recipe = Recipe(crop_area=0.1, crop_padding=0)
    whole = augment(images, 1, counters, recipe)
    assert torch.equal(whole[5:], augment(images[5:], 1, counters[5:], recipe))
    assert whole.shape == (8, 3, 12, 12)
    assert whole.min() >= -1
    assert whole.max() <= 1
