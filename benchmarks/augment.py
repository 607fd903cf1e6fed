"""Augmentation of a batch on the CPU against torchvision's transforms, image by image: python -m benchmarks.augment

Both take the same uint8 images, in turns within one process and on one thread; the figures are CPU time per image and
the ratio is the median over rounds of torchvision's by ours. Crops at 224 px are of images of that size already: what
a loader does to photos while it decodes them is another benchmark.
"""

import argparse
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2

from benchmarks.table import show
from pipeline.data.augment import augment, mix_pairs, normalise
from pipeline.recipe import Recipe

SHAPES = ((32, 256), (224, 32))
"""(side, images of a batch)."""
Transform = Callable[[Tensor], Tensor]


def peers(side: int) -> dict[str, tuple[dict[str, Any], Transform]]:
    """By name: what differs from a recipe without augmentation, and torchvision's transform of one image."""
    return {
        "pad-crop": ({"crop_padding": 4}, v2.RandomCrop(side, padding=4)),
        "flip": ({"flip": True}, v2.RandomHorizontalFlip()),
        "random resized crop": ({"crop_area": 0.08}, v2.RandomResizedCrop(side)),
        "RandAugment, 1 layer": ({"randaugment_layers": 1}, v2.RandAugment(1, 10)),
        "RandAugment, 2 layers": ({"randaugment_layers": 2}, v2.RandAugment(2, 10)),
        "colour": ({"colour": 0.4}, v2.ColorJitter(0.4, 0.4, 0.4)),
        "colour and hue": ({"colour": 0.4, "hue": 0.1}, v2.ColorJitter(0.4, 0.4, 0.4, 0.1)),
        "pad-crop, flip": (
            {"crop_padding": 4, "flip": True},
            v2.Compose([v2.RandomCrop(side, padding=4), v2.RandomHorizontalFlip()]),
        ),
    }


def race(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int) -> tuple[float, float, float]:
    """(our CPU seconds, torchvision's, median ratio of theirs by ours)."""
    times: list[list[float]] = [[], []]
    for turn in range(rounds + 1):
        for which, work in ((0, ours), (1, theirs)) if turn % 2 else ((1, theirs), (0, ours)):
            began = time.process_time()
            work()
            if turn:
                times[which].append(time.process_time() - began)
    return median(times[0]), median(times[1]), median(b / a for a, b in zip(*times, strict=True))


def single(side: int, batch: int, rounds: int) -> list[list[str]]:
    """Rows of the transforms of one image; both end as float32 in one batch."""
    images = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    counters, rows = torch.arange(batch), []
    for name, (fields, transform) in peers(side).items():
        recipe = Recipe(**{"crop_padding": 0, "flip": False, **fields})

        def ours(recipe: Recipe = recipe) -> Tensor:
            return augment(images, 0, counters, recipe)

        def theirs(transform: Transform = transform) -> Tensor:
            return torch.stack([normalise(transform(image)) for image in images])

        rows.append(row(name, side, batch, race(ours, theirs, rounds)))
    return rows


def paired(side: int, batch: int, rounds: int) -> list[list[str]]:
    """Rows of mixup and CutMix: torchvision draws once for a whole batch, so here a batch is a pair to it."""
    images, counters = torch.randn(batch, side, side, 3).permute(0, 3, 1, 2), torch.arange(batch)
    labels, rows = torch.zeros(2, dtype=torch.int64), []
    for name, recipe, transform in (
        ("mixup", Recipe(mixup=0.2), v2.MixUp(alpha=0.2, num_classes=10)),
        ("CutMix", Recipe(cutmix=1.0), v2.CutMix(alpha=1.0, num_classes=10)),
    ):

        def ours(recipe: Recipe = recipe) -> Any:
            return mix_pairs(images, 0, counters, recipe)

        def theirs(transform: Callable[..., Any] = transform) -> Tensor:
            return torch.cat([transform(pair, labels)[0] for pair in images.split(2)])

        rows.append(row(name, side, batch, race(ours, theirs, rounds)))
    return rows


def row(name: str, side: int, batch: int, raced: tuple[float, float, float]) -> list[str]:
    ours, theirs, ratio = raced
    return [name, f"{side}", f"{batch}", f"{ours / batch * 1e6:.1f}", f"{theirs / batch * 1e6:.1f}", f"**{ratio:.1f}**"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = [line for shape in SHAPES for part in (single, paired) for line in part(*shape, arguments.rounds)]
    show(["augmentation, to float32", "px", "batch", "us per image", "torchvision", "ratio"], rows)


if __name__ == "__main__":
    main()
