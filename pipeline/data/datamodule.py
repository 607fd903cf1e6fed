"""SegmentData: the batches of steps ``first`` to ``last - 1``, as a Lightning data module.

A batch is a pure function of (subset, seed, step, rank, world). The loader keeps no state: it is made for a stretch of
steps, has a true length, and reads ahead in one thread. Suffixes: B batch, C channels, H height, W width.
"""

import itertools
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
from pipeline.placement import passes
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
    micro_batch: int = 0
    """Images of one pass; a rank's batch is read in this many at a time. 0: whole."""
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
        self.share(self.rank, self.world)

    def share(self, rank: int, world: int) -> None:
        """Become the batches of one of ``world`` ranks. Raises BadInput when the batch cannot be cut evenly."""
        passes(self.batch_size, world, self.micro_batch)
        self.rank, self.world = rank, world

    @property
    def parts(self) -> int:
        """Passes per step."""
        return passes(self.batch_size, self.world, self.micro_batch)

    def __len__(self) -> int:
        return max(0, self.last - self.first) * self.parts

    def batch(self, step: int, part: int = 0) -> Batch:
        """One pass of this rank: a stretch of the global batch of one step."""
        size = self.batch_size // self.world // self.parts
        start = step * self.batch_size + (self.rank * self.parts + part) * size
        ids = sample_ids(self.subset, len(self.reader), self.seed, start, start + size)
        images, labels = self.reader.gather(ids)
        counters = torch.arange(start, start + size)
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
            for step, part in itertools.product(range(self.first, self.last), range(self.parts)):
                _put(ready, self.batch(step, part), ended)
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
    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> Batches:
        """For this rank of however many there are. Raises BadInput when they cannot share the batch evenly."""
        if self.trainer is not None:
            self.batches.share(self.trainer.global_rank, self.trainer.world_size)
        return self.batches
