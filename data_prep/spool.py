"""Spool: encoded images on their way from the source to the shards, in parts that tasks write side by side.

A part holds the images of one chunk of records and, after them, a table that says what each is. It is named by the
first record of its chunk and is there whole or not at all, so a killed run makes only those that are missing: the
source is gone through again, but nothing is encoded twice, and what is read where it is encoded is not read again.
Memory holds a few chunks of records; image bytes never come back to the process that leads.
"""

import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import durable
from data_prep.encode import Encoded, Form, Unreadable, encode
from data_prep.executor import Executor, Progress
from data_prep.labels import Label
from data_prep.manifest import SPLITS
from data_prep.sources import Deferred, Record, Source
from pipeline.errors import BadInput
from pipeline.subset import OnBadSample

ROW = np.dtype(
    [
        ("offset", "<u8"),
        ("content", "<u8"),
        ("part", "<u4"),
        ("size", "<u4"),
        ("label", "<u4"),
        ("crc", "<u4"),
        ("width", "<u2"),
        ("height", "<u2"),
        ("split", "u1"),
        ("extension", "u1"),
    ]
)
"""Of one image: place in its part, hash of the pixels, first record of the part, number of the label, crc32 of the
bytes, pixels."""
EXTENSIONS = ("jpg", "png")
CHUNK_RECORDS, CHUNK_BYTES = 256, 4 * 2**20
LISTED = 1000
"""Skipped images that are named; all are counted."""


@dataclass(frozen=True)
class Skipped:
    label: Label
    origin: str
    reason: str


@dataclass(frozen=True)
class Chunk:
    first: int
    """Number of the first record in its source."""
    records: list[Record]


@dataclass
class Spool:
    """``rows`` is a structured array (N,) of ROW, in the order of the source, mapped from disk; its labels count in
    ``labels``."""

    folder: Path
    rows: np.ndarray
    labels: list[Label]
    skipped: int = 0
    listed: list[Skipped] = field(default_factory=list)
    """The first that were skipped."""
    lost: set[str] = field(default_factory=set)
    """Classes that a skipped image had."""


class BadSample(BadInput):
    """An image of the source cannot be read; what was made of the others stays."""


def fill(source: Source, folder: Path, map: Executor, progress: Progress) -> Spool:
    """Read and encode the whole source, or what a killed run left of it. Raises BadInput, OSError."""
    folder.mkdir(exist_ok=True)
    note = folder / "done.json"
    if not note.exists():
        firsts = _parts(source, folder, map, progress)
        durable.write(note, json.dumps(firsts).encode())
    return _gathered(folder, json.loads(note.read_text()), source.on_bad_sample)


def _parts(source: Source, folder: Path, map: Executor, progress: Progress) -> list[int]:
    """Make what is missing; the first records of all."""
    firsts: list[int] = []
    done, total = 0, source.expected()

    def missing() -> Iterator[Chunk]:
        nonlocal done
        for chunk in _chunks(source.records()):
            firsts.append(chunk.first)
            if part_path(folder, chunk.first).exists():
                done += len(chunk.records)
            else:
                yield chunk

    for count in map(partial(make_part, folder, Form.of(source), source.on_bad_sample), missing()):
        done += count
        progress("Reading", done, total)
    return firsts


def part_path(folder: Path, first: int) -> Path:
    return folder / f"{first:012d}.part"


def _chunks(records: Iterable[Record]) -> Iterator[Chunk]:
    """By count and bytes: the same whenever the same source is gone through."""
    chunk: list[Record] = []
    first = held = 0
    for record in records:
        chunk.append(record)
        held += _bytes(record)
        if len(chunk) >= CHUNK_RECORDS or held >= CHUNK_BYTES:
            yield Chunk(first, chunk)
            first, chunk, held = first + len(chunk), [], 0
    if chunk:
        yield Chunk(first, chunk)


def _bytes(record: Record) -> int:
    if isinstance(record.image, Deferred):
        return 0
    return record.image.nbytes if isinstance(record.image, np.ndarray) else len(record.image)


def make_part(folder: Path, form: Form, policy: OnBadSample, chunk: Chunk) -> int:
    """One task: encode a chunk and publish its part. Returns the number of its records.

    Raises BadSample naming the first image that cannot be read, unless they are to be counted; OSError.
    """
    rows = np.zeros(len(chunk.records), dtype=ROW)
    labels: dict[Label, int] = {}
    skipped: list[Skipped] = []
    count = position = 0
    with durable.opened(part_path(folder, chunk.first), sync=False) as file:
        for record, image in zip(chunk.records, _images(chunk.records, form), strict=True):
            if isinstance(image, Unreadable):
                if policy is OnBadSample.fail:
                    raise _refused(record.origin, image)
                skipped.append(Skipped(record.label, record.origin, str(image)))
                continue
            label = labels.setdefault(record.label, len(labels))
            rows[count] = _row(record.split, label, image, position)
            file.write(image.data)
            count, position = count + 1, position + len(image.data)
        _write_table(file, rows[:count], list(labels), skipped)
    return len(chunk.records)


def _row(split: str, label: int, image: Encoded, position: int) -> tuple[int, ...]:
    place = (position, image.content, 0, len(image.data), label, image.crc, image.width, image.height)
    return (*place, SPLITS.index(split), EXTENSIONS.index(image.extension))


def _refused(origin: str, reason: Unreadable) -> BadSample:
    if isinstance(reason.__cause__, BadInput):
        return BadSample(str(reason.__cause__))  # its source has said it all
    return BadSample(
        f"{origin} is no readable image ({reason}): mend or remove it, or count it out with "
        "on_bad_sample=skip_and_count."
    )


def _images(records: list[Record], form: Form) -> Iterator[Encoded | Unreadable]:
    for image in _read(records):
        if isinstance(image, Unreadable):
            yield image
            continue
        try:
            yield encode(image, form)
        except Unreadable as error:
            yield error


def _read(records: list[Record]) -> Iterator[bytes | np.ndarray | Unreadable]:
    """The images of all records; those that are read here, by runs of one kind."""
    start = 0
    while start < len(records):
        first = records[start].image
        if not isinstance(first, Deferred):
            yield first
            start += 1
            continue
        stop = start + 1
        while stop < len(records) and type(records[stop].image) is type(first):
            stop += 1
        run: list[Any] = [record.image for record in records[start:stop]]
        yield from _read_run(run)
        start = stop


def _read_run(run: list[Deferred]) -> Iterator[bytes | np.ndarray | Unreadable]:
    """One that cannot be read is told as such, and the rest is read on."""
    while run:
        done = 0
        try:
            for image in type(run[0]).read_all(run):
                done += 1
                yield image
            return
        except (OSError, BadInput) as error:
            unreadable = Unreadable(_reason(error))
            unreadable.__cause__ = error
            yield unreadable
            run = run[done + 1 :]


def _reason(error: OSError | BadInput) -> str:
    return str(error.strerror or error) if isinstance(error, OSError) else str(error).rstrip(".")


def _write_table(file: Any, rows: np.ndarray, labels: list[Label], skipped: list[Skipped]) -> None:
    """Behind the images, and its place behind it."""
    place = file.tell()
    note = {"labels": labels, "skipped": [[one.label, one.origin, one.reason] for one in skipped]}
    buffer = io.BytesIO()
    np.savez(buffer, rows=rows, note=np.frombuffer(json.dumps(note).encode(), np.uint8))
    file.write(buffer.getvalue())
    file.write(place.to_bytes(8, "little"))


def _read_table(path: Path) -> tuple[np.ndarray, list[Label], list[Skipped]]:
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        file.seek(int.from_bytes(file.read(8), "little"))
        with np.load(io.BytesIO(file.read()[:-8]), allow_pickle=False) as table:
            rows, note = table["rows"], json.loads(table["note"].tobytes())
    skipped = [Skipped(_label(label), origin, reason) for label, origin, reason in note["skipped"]]
    return rows, [_label(label) for label in note["labels"]], skipped


def _label(plain: str | list[str]) -> Label:
    return plain if isinstance(plain, str) else tuple(plain)


def _gathered(folder: Path, firsts: list[int], policy: OnBadSample) -> Spool:
    """All tables in one, on disk; labels numbered through."""
    labels: dict[Label, int] = {}
    spool = Spool(folder, np.empty(0, ROW), [])
    count = 0
    with (folder / "rows.bin").open("wb") as file:
        for first in firsts:
            rows, own, skipped = _read_table(part_path(folder, first))
            numbers = np.array([labels.setdefault(label, len(labels)) for label in own], dtype=np.uint32)
            rows["part"], rows["label"] = first, numbers[rows["label"]]
            file.write(rows.tobytes())
            count += len(rows)
            _count_skipped(spool, skipped, policy)
    if not count:
        raise BadInput("The source holds no image.")
    spool.rows = np.memmap(folder / "rows.bin", ROW, "r")
    spool.labels = list(labels)
    return spool


def _count_skipped(spool: Spool, skipped: list[Skipped], policy: OnBadSample) -> None:
    if skipped and policy is OnBadSample.fail:
        raise _refused(skipped[0].origin, Unreadable(skipped[0].reason))
    spool.skipped += len(skipped)
    spool.listed += skipped[: LISTED - len(spool.listed)]
    for one in skipped:
        spool.lost |= {one.label} if isinstance(one.label, str) else set(one.label)
