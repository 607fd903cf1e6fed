"""timm's create_loader with its prefetcher, which collates uint8 and normalises whole batches, on the CPU."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportPrivateImportUsage=false, reportArgumentType=false

from collections.abc import Iterable
from typing import Any

import torch
from timm.data import ImageDataset, create_loader  # type: ignore
from timm.data.transforms import ToNumpy
from torchvision import transforms

from benchmarks.peers.work import MEAN, STD, Work


def prepare(work: Work, **_: str) -> None:
    pass


def loader(work: Work, workers: int) -> Iterable[Any]:
    images = ImageDataset(str(work.files))
    made = create_loader(
        images,
        (3, work.size, work.size),
        work.batch,
        is_training=True,
        scale=(0.08, 1.0),
        color_jitter=0.0,
        mean=MEAN,
        std=STD,
        num_workers=workers,
        persistent_workers=workers > 0,
        device=torch.device("cpu"),
    )
    if work.small:  # timm has no padded crop under its prefetcher
        crop = [transforms.RandomCrop(work.size, padding=4), transforms.RandomHorizontalFlip(), ToNumpy()]
        images.transform = transforms.Compose(crop)
    return made
