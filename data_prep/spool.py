"""Spool: encoded images on their way from the source to the shards, in parts that tasks write side by side.

A part is named by the first record of its chunk and is there whole or not at all, so a killed run makes only those that
are missing: the source is gone through again, but nothing is encoded twice, and what is read where it is encoded is not
read again. Memory holds a few chunks of records; image bytes never come back to the process that leads.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from data_prep import durable
from data_prep.chunk import Chunk, Making, make_part, refused
from data_prep.encode import Form, Unreadable
from data_prep.executor import Executor, Progress
from data_prep.labels import Label
from data_prep.part import ROW, Skipped, Table, path_of, read_table
from data_prep.sources import Deferred, Record, Source
from pipeline.errors import BadInput
from pipeline.subset import OnBadSample

CHUNK_RECORDS, CHUNK_BYTES = 256, 4 * 2**20
LISTED = 1000
"""Skipped images that are named; all are counted."""


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

    @property
    def thumbnails(self) -> Path:
        """uint8 (N, 16, 16, 3), raw; there if they were asked for."""
        return self.folder / "thumbnails.bin"

    def origins(self, rows: np.ndarray) -> list[str]:
        """Where these images came from; known if thumbnails are."""
        first_N = self.rows["part"]
        found: dict[int, tuple[int, list[str]]] = {}
        for first in np.unique(first_N[rows]).tolist():
            start = int(np.searchsorted(first_N, first))
            found[first] = (start, read_table(path_of(self.folder, first)).origins)
        places = [(row, *found[int(first_N[row])]) for row in rows.tolist()]
        return [origins[row - start] for row, start, origins in places]


def fill(source: Source, folder: Path, map: Executor, progress: Progress) -> Spool:
    """Read and encode the whole source, or what a killed run left of it. Raises BadInput, OSError."""
    folder.mkdir(exist_ok=True)
    note = folder / "done.json"
    if not note.exists():
        making = Making(folder, Form.of(source), source.on_bad_sample, bool(source.distinct_from))
        durable.write(note, json.dumps(_parts(source, making, map, progress)).encode())
    return _gathered(folder, json.loads(note.read_text()), source)


def _parts(source: Source, making: Making, map: Executor, progress: Progress) -> list[int]:
    """Make what is missing; the first records of all."""
    firsts: list[int] = []
    done, total = 0, source.expected()

    def missing() -> Iterator[Chunk]:
        nonlocal done
        for chunk in _chunks(source.records()):
            firsts.append(chunk.first)
            if path_of(making.folder, chunk.first).exists():
                done += len(chunk.records)
            else:
                yield chunk

    for count in map(partial(make_part, making), missing()):
        done += count
        progress("Reading", done, total)
    return firsts


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


def _gathered(folder: Path, firsts: list[int], source: Source) -> Spool:
    """All tables in one, on disk; labels numbered through."""
    labels: dict[Label, int] = {}
    spool = Spool(folder, np.empty(0, ROW), [])
    count = 0
    with (folder / "rows.bin").open("wb") as rows, spool.thumbnails.open("wb") as thumbnails:
        for first in firsts:
            table = read_table(path_of(folder, first))
            numbers = np.array([labels.setdefault(label, len(labels)) for label in table.labels], dtype=np.uint32)
            table.rows["part"], table.rows["label"] = first, numbers[table.rows["label"]]
            rows.write(table.rows.tobytes())
            if table.thumbnails is not None:
                thumbnails.write(table.thumbnails.tobytes())
            count += len(table.rows)
            _count_skipped(spool, table, source.on_bad_sample)
    if not count:
        raise BadInput("The source holds no image.")
    spool.rows = np.memmap(folder / "rows.bin", ROW, "r")
    spool.labels = list(labels)
    return spool


def _count_skipped(spool: Spool, table: Table, policy: OnBadSample) -> None:
    skipped = table.skipped
    if skipped and policy is OnBadSample.fail:
        raise refused(skipped[0].origin, Unreadable(skipped[0].reason))
    spool.skipped += len(skipped)
    spool.listed += skipped[: LISTED - len(spool.listed)]
    for one in skipped:
        spool.lost |= {one.label} if isinstance(one.label, str) else set(one.label)
