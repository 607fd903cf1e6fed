"""SegmentData: the batches of steps ``first`` to ``last - 1``, as a Lightning data module.

A batch is a pure function of (subset, seed, step, rank, world). The loader keeps no state: it asks the trainer where it
is, has a true length, and reads ahead in threads. What a checkpoint holds of it is a check, not a position.
Suffixes: B batch, C channels, H height, W width.
"""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor

from pipeline.data.augment import BOXES
from pipeline.data.crop import draw_boxes
from pipeline.data.order import sample_ids, windows
from pipeline.data.reader import Reader
from pipeline.errors import BadInput
from pipeline.placement import passes
from pipeline.subset import Subset

AHEAD = 2
"""Batches read before they are asked for, besides one of every thread."""
LEAST = 8
"""Images to decode that are worth a task of their own."""

Batch = tuple[Tensor, Tensor, Tensor]
"""uint8 images (B, C, H, W), labels (B,) or (B, classes), global sample counters (B,)."""


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
    crop_area: float = 0.0
    """Smallest share of the area that is cut at random out of images that vary in size; 0: their middle."""
    threads: int = 1
    pinned: bool = False
    """Whether images lie in page-locked memory, for a faster copy to a GPU."""
    begun: Callable[[], int] = lambda: 0
    """Passes of this stretch that a trainer has behind it."""
    expected: Mapping[str, Any] | None = field(default=None, repr=False)
    waited: float = field(default=0.0, repr=False)
    """Seconds that the trainer has waited for data, since its first batch."""

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
    def plan_id(self) -> str:
        """Of all that decides which pixels sample s of this run is: not of the world, the threads or the start."""
        plan = {
            "subset": asdict(self.subset),
            "seed": self.seed,
            "batch_size": self.batch_size,
            "crop_area": self.crop_area,
            "decoder": self.reader.reading.backend.value,
        }
        return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()

    @property
    def parts(self) -> int:
        """Passes per step."""
        return passes(self.batch_size, self.world, self.micro_batch)

    @property
    def samples_seen(self) -> int:
        """By all ranks together, so far."""
        return (self.first * self.parts + self.begun()) * (self.batch_size // self.parts)

    def check(self, state: Mapping[str, Any]) -> None:
        """Raises BadInput when ``state`` was left by a run that read other samples, or stopped elsewhere."""
        if state["plan"] != self.plan_id:
            raise BadInput(
                "The checkpoint was made with another data set, subset, seed, batch size, crop or decoder than it is "
                "to go on with: resume it with what it was begun with (placement.decoder is part of that)."
            )
        if state["samples_seen"] != self.samples_seen:
            raise BadInput(
                f"The checkpoint has seen {state['samples_seen']:,} samples, but is to go on after "
                f"{self.samples_seen:,}: resume it at its own step."
            )

    def state_dict(self) -> dict[str, Any]:
        """Nothing is restored from it: ``check`` compares."""
        return {"plan": self.plan_id, "samples_seen": self.samples_seen}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """What is read next is checked against it."""
        self.expected = state_dict

    def __len__(self) -> int:
        return max(0, self.last - self.first) * self.parts

    def batch(self, step: int, part: int = 0) -> Batch:
        """One pass of this rank: a stretch of the global batch of one step."""
        return _Pending(self, None, step * self.parts + part).batch()

    def __iter__(self) -> Generator[Batch, None, None]:
        """Batches in order, read ahead by threads that end with the iteration. Raises what reading raised."""
        if self.expected is not None:
            self.check(self.expected)
            self.expected = None
        begun = self.begun()
        begin = self.first * self.parts + begun
        end = begin + len(self) - (begun % len(self) if len(self) else 0)
        self._announce(begun)
        pool = ThreadPoolExecutor(self.threads, thread_name_prefix="batches")
        ahead: deque[_Pending] = deque()
        try:
            for number in range(begin, end):
                while len(ahead) < self.threads + AHEAD and number + len(ahead) < end:
                    ahead.append(_Pending(self, pool, number + len(ahead)))
                began = time.monotonic()
                batch = ahead.popleft().batch()
                self.waited += time.monotonic() - began if number > begin else 0.0
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _announce(self, begun: int) -> None:
        """Tell the reader what is next."""
        start = self.first * self.batch_size + begun // self.parts * self.batch_size
        stop = self.last * self.batch_size
        if start < stop:
            self.reader.ahead(windows(self.subset, len(self.reader), self.seed, start, stop))


class _Pending:
    """A batch that threads are reading, or that is read when it is asked for."""

    def __init__(self, batches: Batches, pool: ThreadPoolExecutor | None, number: int) -> None:
        reader, size = batches.reader, batches.batch_size // batches.world // batches.parts
        step, part = divmod(number, batches.parts)
        start = step * batches.batch_size + (batches.rank * batches.parts + part) * size
        self.batches, self.counters_B = batches, torch.arange(start, start + size)
        self.images_BHWC = torch.empty((size, *reader.image_shape), dtype=torch.uint8, pin_memory=batches.pinned)
        share = size if reader.at_once or pool is None else max(LEAST, -(-size // batches.threads))
        slices = [slice(k, k + share) for k in range(0, size, share)]
        self.labels: list[Future[np.ndarray] | np.ndarray] = [
            pool.submit(self._read, part) if pool else self._read(part) for part in slices
        ]

    def _read(self, part: slice) -> np.ndarray:
        b, counters_B = self.batches, self.counters_B[part]
        first, last = int(counters_B[0]), int(counters_B[-1]) + 1
        ids_B = sample_ids(b.subset, len(b.reader), b.seed, first, last)
        boxes_B4 = None
        if b.reader.varied and b.crop_area:
            high_B, wide_B = (torch.from_numpy(side_B) for side_B in b.reader.sizes(ids_B))
            boxes_B4 = draw_boxes(b.seed, counters_B, BOXES, high_B, wide_B, b.crop_area).numpy()  # type: ignore[arg-type]
        return b.reader.read(ids_B, self.images_BHWC[part].numpy(), boxes_B4)

    def batch(self) -> Batch:
        """Raises what reading raised."""
        labels = [part.result() if isinstance(part, Future) else part for part in self.labels]
        return self.images_BHWC.permute(0, 3, 1, 2), torch.from_numpy(np.concatenate(labels)), self.counters_B


class SegmentData(LightningDataModule):
    def __init__(self, batches: Batches) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> Batches:
        """For this rank of however many there are, from where the trainer is: Lightning loses a loader's own state
        in common cases. Raises BadInput when they cannot share the batch evenly.
        """
        trainer = self.trainer
        if trainer is not None:
            self.batches.share(trainer.global_rank, trainer.world_size)
            self.batches.begun = lambda: trainer.fit_loop.epoch_loop.batch_progress.total.ready
        return self.batches

    def state_dict(self) -> dict[str, Any]:
        """For Lightning's checkpoints, which keep a data module's state where they lose a loader's."""
        return self.batches.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.batches.load_state_dict(state_dict)
