"""Colour jitter against torchvision: pixel by pixel for given factors and orders, and in distribution."""

from collections.abc import Callable
from itertools import permutations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from torchvision.transforms.v2 import ColorJitter
from torchvision.transforms.v2 import functional as tv

from pipeline.data import colour
from pipeline.data.colour import KERNELS, colour_jitter, draw_factors, draw_orders, jitter

THEIRS: list[Callable[[Tensor, float], Tensor]] = [
    tv.adjust_brightness,
    tv.adjust_contrast,
    tv.adjust_saturation,
    tv.adjust_hue,
]
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def pictures(count: int, side: int, channels: int = 3) -> Tensor:
    """Noise; every third of few levels, every third nearly grey."""
    generator = torch.Generator().manual_seed(side)
    images = torch.randint(0, 256, (count, channels, side, side), dtype=torch.uint8, generator=generator)
    images[1::3] = images[1::3] // 85 * 85
    images[2::3] = images[2::3, :1] // 2 + images[2::3] // 128
    return images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("number", [BRIGHTNESS, CONTRAST, SATURATION])
def test_a_kernel_has_torchvisions_pixels(number: int, channels: int) -> None:
    """Sides of 16 and 32: the ends of odd rows torch itself rounds in another way than their beginnings."""
    factors = torch.cat([torch.linspace(0, 2, 41, dtype=torch.float64), torch.tensor([1 / 3, 0.99, 1.01, 5.0])])
    for side in (16, 32):
        images = pictures(len(factors), side, channels)
        theirs = [THEIRS[number](image, float(f)) for image, f in zip(images, factors, strict=True)]
        for layout in (torch.contiguous_format, torch.channels_last):
            mine = KERNELS[number](images.contiguous(memory_format=layout), factors)
            assert torch.equal(mine, torch.stack(theirs))


def test_hue_has_torchvisions_pixels_within_a_level() -> None:
    turns = torch.linspace(-0.5, 0.5, 61, dtype=torch.float64)
    images = pictures(len(turns), 64)
    theirs = torch.stack([tv.adjust_hue(image, float(t)) for image, t in zip(images, turns, strict=True)])
    apart = (colour.hue(images, turns).int() - theirs.int()).abs()
    assert apart.max() <= 1
    assert (apart > 0).double().mean() < 1e-4


def test_a_grey_image_has_no_colour_to_change() -> None:
    images, values = pictures(4, 8, channels=1), torch.tensor([0.0, 0.3, -0.2, 0.5], dtype=torch.float64)
    assert torch.equal(colour.hue(images, values), images)
    assert torch.equal(colour.saturation(images, values.abs()), images)
    three = images.expand(-1, 3, -1, -1)
    assert torch.equal(colour.hue(three, values), three)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_order_of_operations_is_kept(order: tuple[int, ...]) -> None:
    images = pictures(3, 16)
    factors = torch.tensor([[0.6, 1.5, 0.3, 0.0], [1.4, 0.5, 1.8, 0.0], [0.2, 1.9, 1.1, 0.0]], dtype=torch.float64)
    mine = jitter(images, factors, torch.tensor([order, [0, 1, 2], order]))
    for image, own, row, numbers in zip(images, mine, factors, (order, (0, 1, 2), order), strict=True):
        for number in numbers:
            image = THEIRS[number](image, float(row[number]))
        assert torch.equal(own, image)


@pytest.mark.parametrize(("strength", "turn"), [(0.4, 0.1), (1.6, 0.5)])
def test_factors_have_torchvisions_distribution(strength: float, turn: float) -> None:
    mine = draw_factors(5, torch.arange(20_000), 50, strength, turn)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        transform = ColorJitter(strength, strength, strength, turn)
        drawn = [transform.make_params([]) for _ in range(8_000)]
    for number, name in enumerate(("brightness", "contrast", "saturation", "hue")):
        theirs = [d[f"{name}_factor"] for d in drawn]
        test: Any = stats.ks_2samp(mine[:, number].numpy(), theirs)
        assert test.pvalue > 1e-3, name
        low, high = (max(0.0, 1 - strength), 1 + strength) if number < HUE else (-turn, turn)
        assert stats.kstest(mine[:, number].numpy(), "uniform", (low, high - low)).pvalue > 1e-3, name
    assert (torch.corrcoef(mine.T) - torch.eye(4)).abs().max() < 0.03


@pytest.mark.parametrize("numbers", [[0, 1, 2, 3], [0, 1, 2]])
def test_all_orders_come_equally_often(numbers: list[int]) -> None:
    orders = draw_orders(2, torch.arange(24_000), 54, numbers)
    counts = [int((orders == torch.tensor(p)).all(1).sum()) for p in permutations(numbers)]
    assert sum(counts) == 24_000
    assert stats.chisquare(counts).pvalue > 1e-3
    factors = draw_factors(2, torch.arange(24_000), 50, 0.4, 0.1)
    assert abs(torch.corrcoef(torch.stack([factors[:, 0], orders[:, 0].double()]))[0, 1]) < 0.03


@settings(max_examples=25)
@given(st.integers(1, 24), st.integers(0, 2**40), st.integers(0, 2**31), st.integers(0, 24), st.booleans())
def test_an_image_does_not_depend_on_its_batch(count: int, first: int, seed: int, split: int, turned: bool) -> None:
    images, counters = pictures(count, 7), torch.arange(first, first + count)
    turn = 0.2 if turned else 0.0
    whole = colour_jitter(images, seed, counters, 50, 0.5, turn)
    parts = [s for s in (slice(0, split), slice(split, None)) if len(counters[s])]
    assert torch.equal(whole, torch.cat([colour_jitter(images[s], seed, counters[s], 50, 0.5, turn) for s in parts]))


def test_only_hue_turns_colours_and_nothing_else() -> None:
    """Value and chroma of the hexcone stay, within the rounding."""
    images = pictures(30, 16)
    turned = colour_jitter(images, 3, torch.arange(30), 50, 0.0, 0.5)
    assert not torch.equal(turned, images)
    assert (turned.int().amax(1) - images.int().amax(1)).abs().max() <= 1
    assert (turned.int().amin(1) - images.int().amin(1)).abs().max() <= 1
