"""Rate: how fast this machine reads a prepared data set, by decoder and from the decoded cache."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.data.datamodule import Batches
from pipeline.data.decoders import installed
from pipeline.data.reader import Reader, Reading
from pipeline.placement import Backend
from pipeline.subset import Subset

STEPS = 10**6
"""More batches than are ever read."""


@dataclass
class Rate:
    backend: Backend
    cached: bool
    """Whether pixels came out of the decoded cache."""
    per_core: float
    """Images a second of CPU time."""
    wall: float
    """Images a second of wall-clock time, with the threads asked for."""
    first: float
    """Seconds to the first batch, of a reader that is open."""


def rates(
    folder: Path, reading: Reading, crop_area: float, batch_size: int, threads: int, seconds: float
) -> Iterator[Rate]:
    """Every installed decoder, each for about ``seconds``; and the cache, where the data set fits. Raises BadInput."""
    for backend in filter(installed, Backend):
        own = replace(reading, backend=backend, cache_bytes=0)
        yield _measured(Reader.open(folder, "train", own), crop_area, batch_size, threads, seconds)
    reader = Reader.open(folder, "train", reading)
    if reader.cached:
        yield _measured(reader, crop_area, batch_size, threads, seconds)


def _measured(reader: Reader, crop_area: float, batch_size: int, threads: int, seconds: float) -> Rate:
    size = min(batch_size, len(reader))
    subset = Subset(reader.dataset.id, len(reader))
    batches = Batches(reader, subset, 0, size, 0, STEPS, crop_area=crop_area, threads=threads).__iter__()
    began = time.monotonic()
    next(batches)
    first = time.monotonic() - began
    count, wall, cpu = 0, time.monotonic(), time.process_time()
    while time.monotonic() - wall < seconds:
        count += len(next(batches)[1])
    rate = Rate(
        reader.reading.backend,
        bool(reader.cached),
        count / max(1e-9, time.process_time() - cpu),
        count / (time.monotonic() - wall),
        first,
    )
    batches.close()
    return rate
