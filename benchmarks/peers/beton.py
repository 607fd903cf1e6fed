"""ffcv: photos re-encoded by it at quality 90, small images raw. Its threads are its workers, of which it needs one."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportPrivateImportUsage=false

from collections.abc import Iterable
from typing import Any

import numpy as np
from ffcv.fields import IntField, RGBImageField  # type: ignore
from ffcv.fields.decoders import IntDecoder, RandomResizedCropRGBImageDecoder, SimpleRGBImageDecoder  # type: ignore
from ffcv.loader import Loader, OrderOption  # type: ignore
from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, RandomTranslate, ToTensor, ToTorchImage  # type: ignore
from ffcv.writer import DatasetWriter  # type: ignore
from torchvision.datasets import ImageFolder

from benchmarks.peers.work import MEAN, STD, Work

QUALITY = 90


def prepare(work: Work, **_: str) -> None:
    path = work.folder / "images.beton"
    if path.exists():
        return
    mode = "raw" if work.small else "jpg"
    fields = {"image": RGBImageField(write_mode=mode, jpeg_quality=QUALITY), "label": IntField()}
    DatasetWriter(str(path), fields, num_workers=1).from_indexed_dataset(ImageFolder(work.files))


def loader(work: Work, workers: int) -> Iterable[Any]:
    whole = SimpleRGBImageDecoder() if work.small else RandomResizedCropRGBImageDecoder((work.size, work.size))
    steps = [whole, RandomHorizontalFlip(), *([RandomTranslate(padding=4)] if work.small else [])]
    if work.output == "float32":
        mean, std = np.array(MEAN) * 255, np.array(STD) * 255
        steps.append(NormalizeImage(mean, std, np.dtype(np.float32)))
    image = [*steps, ToTensor(), ToTorchImage(channels_last=False)]
    return Loader(
        str(work.folder / "images.beton"),
        work.batch,
        workers,
        order=OrderOption.RANDOM,
        pipelines={"image": image, "label": [IntDecoder(), ToTensor()]},
    )
