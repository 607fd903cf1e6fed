"""Shards: which images go into which tar, and the task that packs one: a pure function, so anyone may do it."""

import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from data_prep import durable
from data_prep.digest import sha256
from data_prep.labels import Labels
from data_prep.pack import Item, Shard, write_shard
from data_prep.part import EXTENSIONS, damaged, path_of
from data_prep.spool import Spool

SHARD_BYTES = 64 * 2**20
SHARD_SAMPLES = 10_000


@dataclass(frozen=True)
class Job:
    path: Path
    first: int
    """Position in stored order of the first image: the key of the k-th is ``first + k``, nine digits."""
    rows: np.ndarray
    """Of the spool, structured (N,)."""
    labels: list[int] | list[list[int]]
    spool: Path
    """Folder of the parts that the rows lie in."""


@dataclass(frozen=True)
class Packed:
    shard: Shard
    offsets: list[int]
    """Of each image in the tar, bytes."""


def jobs(split: str, spool: Spool, labels: Labels, order: np.ndarray, work: Path) -> Iterator[Job]:
    """Consecutive positions of the order (rows of the spool), cut by bytes and count."""
    start = number = 0
    while start < len(order):
        rows = spool.rows[order[start : start + SHARD_SAMPLES]]
        total = np.cumsum(rows["size"], dtype=np.int64)
        count = max(1, int(np.searchsorted(total, SHARD_BYTES, side="right")))
        members = labels.of(order[start : start + count])
        yield Job(work / f"{split}-{number:05d}.tar", start, rows[:count], members, spool.folder)
        start, number = start + count, number + 1


def pack(job: Job) -> Packed:
    """Write one shard, or take the one a killed run had finished. Raises OSError, BadInput."""
    note = job.path.with_suffix(".packed")
    if (finished := _finished(job.path, note)) is not None:
        return finished
    shard, places = write_shard(job.path, _items(job))
    packed = Packed(shard, [offset for offset, _ in places])
    durable.write(note, json.dumps(asdict(packed)).encode())
    return packed


def _finished(path: Path, note: Path) -> Packed | None:
    try:
        plain = json.loads(note.read_text())
        packed = Packed(Shard(**plain["shard"]), plain["offsets"])
        whole = sha256(path) == packed.shard.sha256
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return packed if whole else None


def _items(job: Job) -> Iterator[Item]:
    extensions = job.rows["extension"].tolist()
    for k, (data, extension, label) in enumerate(zip(_read(job), extensions, job.labels, strict=True), job.first):
        yield Item(f"{k:09d}", EXTENSIONS[extension], data, label)


def _read(job: Job) -> list[bytes]:
    """Image bytes, part by part, since every part holds images of many shards."""
    images = [b""] * len(job.rows)
    part_N, offset_N, size_N, crc_N = (job.rows[name].tolist() for name in ("part", "offset", "size", "crc"))
    by_place = np.lexsort((job.rows["offset"], job.rows["part"])).tolist()
    for part, members in groupby(by_place, key=part_N.__getitem__):
        path = path_of(job.spool, part)
        with path.open("rb", buffering=0) as file:
            for k in members:
                images[k] = os.pread(file.fileno(), size_N[k], offset_N[k])
                if zlib.crc32(images[k]) != crc_N[k]:
                    raise damaged(path)
    return images
