"""SegmentData: the batches of steps ``first`` to ``last - 1``, as a Lightning data module.

A batch is a pure function of (subset, seed, step, rank, world). The loader keeps no state: it is made for a stretch of
steps, has a true length, and reads ahead in one thread.
"""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import lightning as L
import torch
from torch import Tensor

from pipeline.data.order import sample_ids
from pipeline.data.reader import Reader
from pipeline.subset import Subset

AHEAD = 4
"""Batches read before they are asked for."""

Batch = tuple[Tensor, Tensor, Tensor]
"""uint8 images (B, C, H, W), labels (B,), global sample counters (B,)."""


@dataclass
class Batches:
    """Iterable over the batches of one rank."""

    reader: Reader
    subset: Subset
    seed: int
    batch_size: int
    """Global: over all ranks."""
    first: int
    last: int
    rank: int = 0
    world: int = 1

    def __len__(self) -> int:
        return self.last - self.first

    def batch(self, step: int) -> Batch:
        """This rank's part of the global batch of one step: every ``world``-th sample."""
        start, stop = step * self.batch_size, (step + 1) * self.batch_size
        ids = sample_ids(self.subset, len(self.reader), self.seed, start, stop)[self.rank :: self.world]
        images, labels = self.reader.gather(ids)
        counters = torch.arange(start, stop)[self.rank :: self.world]
        return torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy(labels), counters

    def __iter__(self) -> Iterator[Batch]:
        """Batches in order, read ahead by a thread that ends with the iteration."""
        ready: queue.Queue[Batch | BaseException] = queue.Queue(AHEAD)
        ended = threading.Event()

        def put(item: Batch | BaseException) -> None:
            while not ended.is_set():
                try:
                    return ready.put(item, timeout=0.2)
                except queue.Full:
                    continue

        def read() -> None:
            try:
                for step in range(self.first, self.last):
                    if ended.is_set():
                        return
                    put(self.batch(step))
            except BaseException as error:
                put(error)

        thread = threading.Thread(target=read, name="batches", daemon=True)
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


class SegmentData(L.LightningDataModule):
    def __init__(self, reader: Reader, subset: Subset, seed: int, batch_size: int, first: int, last: int) -> None:
        super().__init__()
        self.batches = Batches(reader, subset, seed, batch_size, first, last)

    def train_dataloader(self) -> Batches:
        """For this rank of however many there are."""
        trainer = self.trainer
        if trainer is not None and trainer.world_size > 1:
            self.batches.rank, self.batches.world = trainer.global_rank, trainer.world_size
        return self.batches
