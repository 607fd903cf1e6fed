"""torchvision's ImageFolder and v2 transforms under torch's DataLoader."""

from collections.abc import Iterable
from typing import Any

from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from benchmarks.peers.work import Work


def prepare(work: Work, **_: str) -> None:
    pass


def loader(work: Work, workers: int) -> Iterable[Any]:
    images = ImageFolder(work.files, work.transform())
    return DataLoader(images, work.batch, shuffle=True, num_workers=workers, drop_last=True)
