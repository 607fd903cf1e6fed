"""RandAugment: torchvision's operations at torchvision's strengths, drawn per sample."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms.v2 import RandAugment

from pipeline.data.randaugment import BINS, OPERATIONS, moves, operate, randaugment


def noise(count: int, h: int = 16, w: int = 16, channels: int = 3) -> torch.Tensor:
    """The second image has four levels only."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, h, w), dtype=torch.uint8, generator=generator)
    images[1:2] = images[1:2] // 64 * 50
    return images


def theirs(images: torch.Tensor, name: str, magnitude: int, sign: int) -> torch.Tensor:
    strengths, signed = RandAugment._AUGMENTATION_SPACE[name]
    values = strengths(BINS, *images.shape[-2:])
    value = 0.0 if values is None else float(values[magnitude]) * (sign if signed else 1)
    transform = RandAugment(magnitude=magnitude)
    return transform._apply_image_or_video_transform(  # type: ignore[arg-type, return-value]
        images, name, value, transform.interpolation, transform._fill
    )


def mine(images: torch.Tensor, number: int, magnitude: int, sign: int) -> torch.Tensor:
    count = len(images)
    return operate(images, torch.full((count,), number), torch.full((count,), int(sign < 0)), magnitude)


def test_the_space_is_torchvisions() -> None:
    assert tuple(RandAugment._AUGMENTATION_SPACE) == OPERATIONS


@pytest.mark.parametrize("number", range(len(OPERATIONS)), ids=OPERATIONS)
@pytest.mark.parametrize("sign", [1, -1])
def test_every_operation_is_torchvisions_pixel_by_pixel(number: int, sign: int) -> None:
    for shape in ((16, 16, 3), (16, 16, 1), (20, 32, 3)):
        images = noise(3, *shape)
        for magnitude in range(BINS):
            expected = theirs(images, OPERATIONS[number], magnitude, sign)
            assert torch.equal(mine(images, number, magnitude, sign), expected), (shape, magnitude)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_batch_of_all_operations_is_each_by_itself(layout: torch.memory_format) -> None:
    numbers = torch.arange(4 * len(OPERATIONS)) % len(OPERATIONS)
    negative = torch.arange(len(numbers)) // len(OPERATIONS) % 2
    images = noise(len(numbers), 12, 16).contiguous(memory_format=layout)
    together = operate(images, numbers, negative, 17)
    for i, (number, minus) in enumerate(zip(numbers.tolist(), negative.tolist(), strict=True)):
        assert torch.equal(together[i], theirs(images[i], OPERATIONS[number], 17, 1 - 2 * minus)), OPERATIONS[number]


def test_tiny_images_pass() -> None:
    for number in range(len(OPERATIONS)):
        images = noise(2, 1, 2)
        assert mine(images, number, 10, -1).shape == images.shape


def test_moves_are_the_same_under_mixed_precision() -> None:
    """torchvision makes its grids by a matrix product, which autocast would round to eight bits."""
    moves.cache_clear()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = moves(32, 32, 9, torch.device("cpu"))
    moves.cache_clear()
    assert torch.equal(mixed, moves(32, 32, 9, torch.device("cpu")))


def test_all_operations_and_signs_come_equally_often() -> None:
    images = noise(1).expand(6000, -1, -1, -1)
    drawn = randaugment(images, 2, torch.arange(6000), 5, 1, 20)
    wanted = [theirs(images[:1], name, 20, sign)[0] for name in OPERATIONS for sign in (1, -1)]
    counts = [int((drawn == one).flatten(1).all(1).sum()) for one in wanted]
    whole = [p + m if RandAugment._AUGMENTATION_SPACE[n][1] else p for n, p, m in triples(counts)]
    assert sum(whole) == 6000
    assert stats.chisquare(whole).pvalue > 1e-3
    signed = [count for n, p, m in triples(counts) if RandAugment._AUGMENTATION_SPACE[n][1] for count in (p, m)]
    assert stats.chisquare(signed).pvalue > 1e-3


def triples(counts: list[int]) -> list[tuple[str, int, int]]:
    return list(zip(OPERATIONS, counts[::2], counts[1::2], strict=True))


@settings(max_examples=25)
@given(st.integers(1, 30), st.integers(0, 2**40), st.integers(0, 2**31), st.integers(0, 30), st.integers(0, 30))
def test_a_sample_does_not_depend_on_its_batch(count: int, first: int, seed: int, split: int, magnitude: int) -> None:
    images, counters = noise(count, 9, 7), torch.arange(first, first + count)
    whole = randaugment(images, seed, counters, 5, 2, magnitude)
    parts = [s for s in (slice(0, split), slice(split, None)) if len(counters[s])]
    assert torch.equal(whole, torch.cat([randaugment(images[s], seed, counters[s], 5, 2, magnitude) for s in parts]))


def test_seeds_draw_differently() -> None:
    images, counters = noise(64), torch.arange(64)
    assert not torch.equal(randaugment(images, 1, counters, 5, 2, 15), randaugment(images, 2, counters, 5, 2, 15))
