"""RandAugment: torchvision's operations at torchvision's strengths, drawn per sample."""

import pytest
import torch
from torchvision.transforms.v2 import RandAugment

from pipeline.data.randaugment import BINS, operations, randaugment

NAMES = list(RandAugment._AUGMENTATION_SPACE)


def noise(count: int, side: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def theirs(images: torch.Tensor, name: str, magnitude: int, sign: int) -> torch.Tensor:
    strengths, signed = RandAugment._AUGMENTATION_SPACE[name]
    values = strengths(BINS, *images.shape[-2:])
    value = 0.0 if values is None else float(values[magnitude]) * (sign if signed else 1)
    transform = RandAugment(magnitude=magnitude)
    return transform._apply_image_or_video_transform(  # type: ignore[arg-type, return-value]
        images, name, value, transform.interpolation, transform._fill
    )


@pytest.mark.parametrize("number", range(len(NAMES)), ids=NAMES)
@pytest.mark.parametrize("magnitude", [0, 1, 10, 15, 29, 30])
@pytest.mark.parametrize("sign", [1, -1])
def test_every_operation_is_torchvisions_pixel_by_pixel(number: int, magnitude: int, sign: int) -> None:
    images = noise(3)
    operation, strengths, signed = operations(16, 16)[number]
    value = strengths[magnitude] * (sign if signed else 1)
    assert torch.equal(operation(images, value), theirs(images, NAMES[number], magnitude, sign))


def test_all_operations_and_signs_come_equally_often() -> None:
    images = noise(1).expand(6000, -1, -1, -1)
    drawn = randaugment(images, 2, torch.arange(6000), 5, 1, 20)
    wanted = [theirs(images[:1], name, 20, sign)[0] for name in NAMES for sign in (1, -1)]
    counts = [int((drawn == one).flatten(1).all(1).sum()) for one in wanted]
    for number, name in enumerate(NAMES):
        plus, minus = counts[2 * number : 2 * number + 2]
        signed = RandAugment._AUGMENTATION_SPACE[name][1]
        for count in (plus, minus) if signed else (plus,):
            assert abs(count - 6000 / 14 / (2 if signed else 1)) < 90, name


def test_a_sample_does_not_depend_on_its_batch() -> None:
    images, counters = noise(64), torch.arange(64)
    whole = randaugment(images, 1, counters, 5, 2, 15)
    assert torch.equal(whole[40:], randaugment(images[40:], 1, counters[40:], 5, 2, 15))
    assert not torch.equal(whole, randaugment(images, 2, counters, 5, 2, 15))
    assert torch.equal(images, noise(64)), "the input was changed"
