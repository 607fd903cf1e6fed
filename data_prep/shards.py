"""Shards: which images go into which tar, and the task that packs one: a pure function, so anyone may do it."""

import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from data_prep import durable
from data_prep.pack import Item, Shard, write_shard
from data_prep.spool import EXTENSIONS
from pipeline.errors import BadInput

SHARD_BYTES = 64 * 2**20
SHARD_SAMPLES = 10_000


@dataclass(frozen=True)
class Job:
    path: Path
    first: int
    """Position in stored order of the first image: the key of the k-th is ``first + k``, nine digits."""
    rows: np.ndarray
    """Of the spool, structured (N,)."""


@dataclass(frozen=True)
class Packed:
    shard: Shard
    offsets: list[int]
    """Of each image in the tar, bytes."""


def jobs(part: str, rows: np.ndarray, work: Path) -> Iterator[Job]:
    """Consecutive positions, cut by bytes and count."""
    start = number = 0
    while start < len(rows):
        total = np.cumsum(rows["size"][start : start + SHARD_SAMPLES], dtype=np.int64)
        stop = start + max(1, int(np.searchsorted(total, SHARD_BYTES, side="right")))
        yield Job(work / f"{part}-{number:05d}.tar", start, rows[start:stop])
        start, number = stop, number + 1


def pack(spool: Path, job: Job) -> Packed:
    """Write one shard, or take the one a killed run had finished. Raises OSError, BadInput."""
    note = job.path.with_suffix(".packed")
    if (finished := _finished(job.path, note)) is not None:
        return finished
    shard, places = write_shard(job.path, _items(spool, job))
    packed = Packed(shard, [offset for offset, _ in places])
    durable.write(note, json.dumps(asdict(packed)).encode())
    return packed


def _finished(path: Path, note: Path) -> Packed | None:
    try:
        plain = json.loads(note.read_text())
        packed = Packed(Shard(**plain["shard"]), plain["offsets"])
        whole = hashlib.sha256(path.read_bytes()).hexdigest() == packed.shard.sha256
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return packed if whole else None


def _items(spool: Path, job: Job) -> Iterator[Item]:
    with spool.open("rb") as file:
        for position, row in enumerate(job.rows.tolist(), start=job.first):
            offset, size, _, extension, label, _, crc, *_ = row
            file.seek(offset)
            data = file.read(size)
            if zlib.crc32(data) != crc:
                raise BadInput(f"{spool} is damaged: delete {spool.parent} and run `crossover prepare` again.")
            yield Item(f"{position:09d}", EXTENSIONS[extension], data, label)
