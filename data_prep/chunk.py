"""Chunk: records in a row, and the task that reads, encodes and writes them as one part of the spool."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep import durable
from data_prep.dedup import SIDE, thumbnail
from data_prep.encode import Encoded, Form, Unreadable, encode
from data_prep.labels import Label
from data_prep.manifest import SPLITS
from data_prep.part import EXTENSIONS, ROW, Skipped, Table, path_of, write_table
from data_prep.sources import Deferred, Record
from pipeline.errors import BadInput
from pipeline.subset import OnBadSample


@dataclass(frozen=True)
class Chunk:
    first: int
    """Number of the first record in its source."""
    records: list[Record]


@dataclass(frozen=True)
class Making:
    """How the parts of a spool are made."""

    folder: Path
    form: Form
    on_bad_sample: OnBadSample
    thumbnails: bool
    """Kept, and where each image came from, because copies will be looked for."""


class BadSample(BadInput):
    """An image of the source cannot be read; what was made of the others stays."""


def refused(origin: str, reason: Exception) -> BadSample:
    if isinstance(reason.__cause__, BadInput):
        return BadSample(str(reason.__cause__))  # its source has said it all
    return BadSample(
        f"{origin} is no readable image ({reason}): mend or remove it, or count it out with "
        "on_bad_sample=skip_and_count."
    )


def make_part(making: Making, chunk: Chunk) -> int:
    """One task. Returns the number of records.

    Raises BadSample naming the first image that cannot be read, unless they are to be counted; OSError.
    """
    table = Table(np.zeros(len(chunk.records), dtype=ROW), [])
    labels: dict[Label, int] = {}
    thumbnails: list[np.ndarray] = []
    count = position = 0
    with durable.opened(path_of(making.folder, chunk.first), sync=False) as file:
        for record, image in zip(chunk.records, _images(chunk.records, making.form), strict=True):
            if isinstance(image, Unreadable):
                if making.on_bad_sample is OnBadSample.fail:
                    raise refused(record.origin, image)
                table.skipped.append(Skipped(record.label, record.origin, str(image)))
                continue
            label = labels.setdefault(record.label, len(labels))
            table.rows[count] = _row(record.split, label, image, position)
            file.write(image.data)
            count, position = count + 1, position + len(image.data)
            if making.thumbnails:
                thumbnails.append(thumbnail(image.image))
                table.origins.append(record.origin)
        table.rows, table.labels = table.rows[:count], list(labels)
        if making.thumbnails:
            table.thumbnails = np.array(thumbnails, dtype=np.uint8).reshape(-1, SIDE, SIDE, 3)
        write_table(file, table)
    return len(chunk.records)


def _row(split: str, label: int, image: Encoded, position: int) -> tuple[int, ...]:
    place = (position, image.content, 0, len(image.data), label, image.crc, image.width, image.height)
    return (*place, SPLITS.index(split), EXTENSIONS.index(image.extension))


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
    """One that is at fault itself is told as such, and the rest is read on; a disk's or network's fault is raised."""
    while run:
        done = 0
        try:
            for image in type(run[0]).read_all(run):
                done += 1
                yield image
            return
        except (BadInput, FileNotFoundError) as error:
            unreadable = Unreadable(str(error.strerror if isinstance(error, OSError) else error).rstrip("."))
            unreadable.__cause__ = error
            yield unreadable
            run = run[done + 1 :]
