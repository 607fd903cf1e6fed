"""Prepare: source -> shards, index, manifest; atomic and resumable.

Everything is made in a hidden folder beside the target and moved there by one rename. Images are first spooled to
disk as they are read (so memory holds only an index), then split, ordered and packed; a killed run finds the spool
and the shards it finished, and the bytes are the same whoever packs them.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.encode import encode
from data_prep.manifest import FIELDS, SPLITS, Index, Manifest, read_manifest, save_indices
from data_prep.order import cut_by_hash, permutation
from data_prep.pack import Item, Shard, write_shard
from data_prep.sources import Source
from pipeline.errors import BadInput
from pipeline.subset import Dataset

SHARD_BYTES = 64 * 2**20
SHARD_SAMPLES = 10_000
EXTENSIONS = ("jpg", "png")


def find(source: Source, name: str, root: Path) -> tuple[Dataset, Path] | None:
    """The prepared data set, if it is complete."""
    folder = _folder(source, name, root)
    return (read_manifest(folder).dataset(), folder) if (folder / "dataset.json").exists() else None


def prepare(
    source: Source, name: str, root: Path, map: Callable[..., Any] = map, progress: Callable[[int], None] | None = None
) -> tuple[Dataset, Path]:
    """Make it, or continue making it. ``map`` may run the packing of shards elsewhere."""
    folder = _folder(source, name, root)
    work = folder.with_name(f".{folder.name}.partial")
    try:
        work.mkdir(parents=True, exist_ok=True)
        with _alone(work):
            if found := find(source, name, root):
                return found
            spool = _spooled(source, work, progress or (lambda count: None))
            _pack(source, name, spool, work, map)
            for leftover in work.glob("spool*"):
                leftover.unlink()
            os.replace(work, folder)
    except OSError as error:
        raise BadInput(_os_sentence(error, root)) from error
    return read_manifest(folder).dataset(), folder


def _folder(source: Source, name: str, root: Path) -> Path:
    return root / f"{name}-{source.fingerprint()[:12]}"


@contextlib.contextmanager
def _alone(work: Path) -> Iterator[None]:
    """Only one process prepares a data set; the others wait and find it done. The lock dies with its holder."""
    with (work.parent / f"{work.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        work.mkdir(exist_ok=True)
        yield


@dataclass
class Spool:
    """Encoded images as read, in one file, and where each lies."""

    path: Path
    offset: np.ndarray
    size: np.ndarray
    split: np.ndarray
    label: np.ndarray
    extension: np.ndarray
    hash: np.ndarray
    classes: list[str]


def _spooled(source: Source, work: Path, progress: Callable[[int], None]) -> Spool:
    done, data = work / "spool.npz", work / "spool.bin"
    if not done.exists():
        _spool(source, data, done, progress)
    with np.load(done, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    classes = json.loads(bytes(arrays.pop("classes")).decode())
    return Spool(data, classes=classes, **arrays)


def _spool(source: Source, data: Path, done: Path, progress: Callable[[int], None]) -> None:
    rows: list[tuple[int, int, int, int, int, int]] = []
    names: dict[str, int] = {}
    position = 0
    with data.open("wb") as file:
        for record in source.records():
            image = encode(record, source.image_size)
            label = names.setdefault(record.label, len(names))
            content = int.from_bytes(hashlib.blake2b(image.data, digest_size=8).digest(), "little")
            split, extension = SPLITS.index(record.split), EXTENSIONS.index(image.extension)
            rows.append((position, len(image.data), split, label, extension, content))
            position += file.write(image.data)
            if len(rows) % 1000 == 0:
                progress(len(rows))
        file.flush()
        os.fsync(file.fileno())
    if not rows:
        raise BadInput("The source holds no image.")
    classes = sorted(names)
    rank = np.array([classes.index(name) for name in names])
    table = np.array(rows, dtype=np.uint64)
    temporary = done.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez(
            file,
            offset=table[:, 0],
            size=table[:, 1],
            split=table[:, 2].astype(np.int8),
            label=rank[table[:, 3].astype(np.int64)],
            extension=table[:, 4].astype(np.int8),
            hash=table[:, 5],
            classes=np.frombuffer(json.dumps(classes).encode(), np.uint8),
        )
    os.replace(temporary, done)


def _pack(source: Source, name: str, spool: Spool, work: Path, map: Callable[..., Any]) -> None:
    split = _splits(source, spool)
    indices: dict[str, Index] = {}
    shards: dict[str, list[Shard]] = {}
    for code, part in enumerate(SPLITS):
        members = np.flatnonzero(split == code)
        ordered = members[
            permutation(spool.label[members], spool.hash[members], source.order, source.order_seed)
        ]
        jobs = list(_jobs(spool, part, ordered, work))
        made = list(map(partial(_write, spool.path), jobs))
        shards[part] = [shard for shard, _ in made]
        indices[part] = _index(spool, ordered, made)
    digest = save_indices(work, indices)
    counts = {part: len(indices[part]) for part in SPLITS}
    if not counts["train"]:
        raise BadInput("The source has no training image: name its folder train/, or lower val_share and test_share.")
    order = {"rule": source.order.value, "seed": source.order_seed}
    Manifest(
        name, spool.classes, source.image_size, 3, source.describe(), counts, order, shards, digest, rules=RULES
    ).save(work)


RULES = {
    "split": "of each class, the images with the smallest content hash; before ordering",
    "conversion": "RGB; up to a quarter smaller: zero-padded; else short side resized, centre cut; kept if it fits",
}


def _splits(source: Source, spool: Spool) -> np.ndarray:
    """The source's own splits; those it lacks are cut from training."""
    split = spool.split.copy()
    for code, share in ((2, source.test_share), (1, source.val_share)):
        if share and not (split == code).any():
            train = np.flatnonzero(split == 0)
            whole = share if code == 2 or not source.test_share else share / (1 - source.test_share)
            held = cut_by_hash(spool.hash[train], spool.label[train], whole)
            split[train[held]] = code
    return split


@dataclass(frozen=True)
class _Job:
    path: Path
    first: int
    offset: list[int]
    size: list[int]
    label: list[int]
    extension: list[int]


def _jobs(spool: Spool, part: str, ordered: np.ndarray, work: Path) -> Iterator[_Job]:
    """Consecutive positions, cut by bytes and count."""
    start, number = 0, 0
    sizes = spool.size[ordered].astype(np.int64)
    while start < len(ordered):
        room = np.searchsorted(np.cumsum(sizes[start : start + SHARD_SAMPLES]), SHARD_BYTES) + 1
        rows = ordered[start : min(start + int(room), start + SHARD_SAMPLES)]
        yield _Job(
            work / f"{part}-{number:05d}.tar",
            start,
            spool.offset[rows].tolist(),
            spool.size[rows].tolist(),
            spool.label[rows].tolist(),
            spool.extension[rows].tolist(),
        )
        start += len(rows)
        number += 1


def _write(spool: Path, job: _Job) -> tuple[Shard, list[tuple[int, int, int]]]:
    """One shard; returns it with (offset, size, crc32) of its images. Pure, so any process may do it."""
    crcs: list[int] = []

    def items() -> Iterator[Item]:
        with spool.open("rb") as file:
            rows = zip(job.offset, job.size, job.label, job.extension, strict=True)
            for i, (offset, size, label, extension) in enumerate(rows):
                file.seek(offset)
                data = file.read(size)
                crcs.append(zlib.crc32(data))
                yield Item(f"{job.first + i:09d}", EXTENSIONS[extension], data, label)

    shard, places = write_shard(job.path, items())
    return shard, [(offset, size, crc) for (offset, size), crc in zip(places, crcs, strict=True)]


def _index(spool: Spool, ordered: np.ndarray, made: list[tuple[Shard, list[tuple[int, int, int]]]]) -> Index:
    places = [place for _, listed in made for place in listed]
    table = np.array(places, dtype=np.uint64).reshape(-1, 3)
    shard = np.repeat(np.arange(len(made)), [len(listed) for _, listed in made])
    columns = {
        "shard": shard,
        "offset": table[:, 0],
        "size": table[:, 1],
        "label": spool.label[ordered],
        "crc": table[:, 2],
    }
    return Index(**{name: columns[name].astype(dtype) for name, dtype in FIELDS.items()})


def _os_sentence(error: OSError, root: Path) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free = shutil.disk_usage(root).free / 2**20 if root.exists() else 0
        return f"No space is left in {root} ({free:.0f} MiB free): free some, and the same command continues."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{error.filename or root} cannot be used ({error.strerror}): mend its rights or set placement.data."
    if error.errno == errno.ENOTEMPTY:
        return f"{error.filename2 or root} is in the way (it has no dataset.json): delete it and run again."
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{error.filename or root} is a file where a folder is needed: set placement.data to another folder."
    raise error
