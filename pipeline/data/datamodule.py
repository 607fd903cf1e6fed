"""SegmentData: the batches of steps ``first`` to ``last - 1``, as a Lightning data module.

A batch is a pure function of (subset, seed, step, rank, world). The loader keeps no state: it is made for a stretch of
steps, has a true length, and reads ahead in one thread. Suffixes: B batch, C channels, H height, W width.
"""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from lightning import LightningDataModule
from torch import Tensor

from pipeline.data.order import sample_ids
from pipeline.data.reader import Reader
from pipeline.errors import BadInput
from pipeline.subset import Subset

AHEAD = 4
"""Batches read before they are asked for."""

Batch = tuple[Tensor, Tensor, Tensor]
"""uint8 images (B, C, H, W), labels (B,), global sample counters (B,)."""


@dataclass
class Batches:
    """Iterable over the batches of one rank. Raises BadInput for a subset that its data set does not have."""

    reader: Reader
    subset: Subset
    seed: int
    batch_size: int
    """Global: over all ranks."""
    first: int
    last: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        data = self.reader.dataset
        if self.subset.dataset != data.id:
            raise BadInput(
                f"The subset is of data set {self.subset.dataset[:12]}, but {self.reader.folder} holds {data.id[:12]}: "
                "plan the study again with this data."
            )
        if not 0 < self.subset.samples <= len(self.reader):
            raise BadInput(
                f"A subset of {self.subset.samples} images was asked for, but {data.name} has {len(self.reader)} "
                f"{self.reader.split} images: choose a size up to that."
            )

    def __len__(self) -> int:
        return max(0, self.last - self.first)

    def batch(self, step: int) -> Batch:
        """This rank's part of the global batch of one step: every ``world``-th sample."""
        start, stop = step * self.batch_size, (step + 1) * self.batch_size
        ids = sample_ids(self.subset, len(self.reader), self.seed, start, stop)[self.rank :: self.world]
        images, labels = self.reader.gather(ids)
        counters = torch.arange(start, stop)[self.rank :: self.world]
        return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels), counters

    def __iter__(self) -> Iterator[Batch]:
        """Batches in order, read ahead by a thread that ends with the iteration. Raises what reading raised."""
        ready: queue.Queue[Batch | BaseException] = queue.Queue(AHEAD)
        ended = threading.Event()
        thread = threading.Thread(target=self._read, args=(ready, ended), name="batches", daemon=True)
        thread.start()
        try:
            for _ in range(len(self)):
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            ended.set()
            thread.join()

    def _read(self, ready: "queue.Queue[Batch | BaseException]", ended: threading.Event) -> None:
        try:
            for step in range(self.first, self.last):
                _put(ready, self.batch(step), ended)
                if ended.is_set():
                    return
        except BaseException as error:
            _put(ready, error, ended)


def _put(ready: "queue.Queue[Batch | BaseException]", item: Batch | BaseException, ended: threading.Event) -> None:
    """Wait for room, or for the end of the iteration."""
    while not ended.is_set():
        try:
            ready.put(item, timeout=0.2)
            return
        except queue.Full:
            continue


class SegmentData(LightningDataModule):
    def __init__(self, reader: Reader, subset: Subset, seed: int, batch_size: int, first: int, last: int) -> None:
        super().__init__()
        self.batches = Batches(reader, subset, seed, batch_size, first, last)

    def train_dataloader(self) -> Batches:
        """For this rank of however many there are. Raises BadInput when they cannot share the batch evenly."""
        trainer = self.trainer
        if trainer is not None and trainer.world_size > 1:
            if self.batches.batch_size % trainer.world_size:
                raise BadInput(
                    f"recipe.batch_size={self.batches.batch_size} cannot be shared by {trainer.world_size} devices: "
                    "choose a multiple."
                )
            self.batches.rank, self.batches.world = trainer.global_rank, trainer.world_size
        return self.batches
