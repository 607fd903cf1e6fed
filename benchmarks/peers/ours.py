"""Ours: `Batches` over a prepared data set. Its threads are its workers; with none, a batch is read when asked for."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from benchmarks.peers.work import Work
from data_prep.prepare import prepare as prepare_source
from data_prep.sources import ImageSource, Stored
from pipeline.data import draws
from pipeline.data.augment import augment, flip
from pipeline.data.crop import pad_crop
from pipeline.data.datamodule import Batch, Batches
from pipeline.data.reader import Reader, Reading
from pipeline.placement import Backend
from pipeline.recipe import Recipe
from pipeline.subset import Subset

CACHE = 4 * 2**30
PADDING, AREA = 4, 0.08
SEED = 0


def prepared(work: Work, stored: str) -> str:
    """Folder of the prepared data set, which is made when it is not there."""
    source = ImageSource(path=str(work.files), image_size=work.size, stored=Stored(stored), val_share=0.0)
    return str(prepare_source(source, stored, work.folder / "ours")[1])


def prepare(work: Work, stored: str, **options: str) -> None:
    folder = prepared(work, stored)
    _reader(folder, **options).close()  # fills the decoded cache, where there is one


def _reader(folder: str, decoder: str, cache: str = "no") -> Reader:
    return Reader.open(folder, "train", Reading(Backend(decoder), cache_bytes=CACHE if cache == "yes" else 0))


def loader(work: Work, workers: int, stored: str, **options: str) -> Iterable[Any]:
    reader = _reader(prepared(work, stored), **options)
    steps = len(reader) // work.batch
    subset = Subset(reader.dataset.id, len(reader))
    area = AREA if reader.varied else 0.0
    batches = Batches(reader, subset, SEED, work.batch, 0, steps, crop_area=area, threads=max(1, workers))
    read = iter(batches) if workers else map(batches.batch, range(steps))
    return finished(read, work)


def finished(batches: Iterable[Batch], work: Work) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """What else is done on the device, here the CPU."""
    recipe = Recipe(crop_padding=PADDING if work.small else 0, crop_area=0.0 if work.small else AREA, flip=True)
    for images, labels, counters in batches:
        if work.output == "float32":
            yield augment(images, SEED, counters, recipe, cropped=not work.small), labels
            continue
        drawn = draws.integers(SEED, counters)
        if work.small:
            images = pad_crop(images, PADDING, drawn % 9, drawn // 9 % 9)
        yield flip(images, (drawn >> 40) & 1), labels
