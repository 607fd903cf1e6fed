"""Spool: encoded images in one file, in the order their source gave them, and a row for each that says what it is.

Both files only grow, the row after its image, so a killed run continues after the last whole row; memory holds a few
chunks of records and, in the end, the rows.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data_prep import durable
from data_prep.encode import Encoded, encode_all
from data_prep.manifest import SPLITS
from data_prep.sources import Record, Source
from pipeline.errors import BadInput

ROW = np.dtype(
    [
        ("offset", "<u8"),
        ("size", "<u4"),
        ("split", "u1"),
        ("extension", "u1"),
        ("label", "<u4"),
        ("content", "<u8"),
        ("crc", "<u4"),
        ("width", "<u2"),
        ("height", "<u2"),
    ]
)
EXTENSIONS = ("jpg", "png")
CHUNK_RECORDS, CHUNK_BYTES = 256, 4 * 2**20
WINDOW = 16
"""Chunks handed to the executor at once: it keeps 16 cores busy and at most 64 MiB in memory."""


@dataclass
class Spool:
    """``rows`` is a structured array (N,) of ROW; its labels count in the order of ``classes``, which is sorted."""

    path: Path
    rows: np.ndarray
    classes: list[str]


def fill(source: Source, work: Path, map: Callable[..., Any], progress: Callable[[int], None]) -> Spool:
    """Read and encode the whole source, or what a killed run left of it. Raises BadInput, OSError."""
    data, table, names, done = (work / f"spool.{part}" for part in ("bin", "rows", "classes", "done"))
    if not done.exists():
        with data.open("ab") as images, table.open("ab") as rows:
            position, count = _whole(images, rows)
            known = json.loads(names.read_text()) if names.exists() else []
            labels = {name: number for number, name in enumerate(known)}
            records = islice(source.records(), count, None)
            for chunk in _encoded(records, source.image_size, map):
                if any(image.label not in labels for image in chunk):
                    for image in chunk:
                        labels.setdefault(str(image.label), len(labels))
                    durable.write(names, json.dumps(list(labels)).encode())
                position, count = _append(chunk, labels, images, rows, position), count + len(chunk)
                progress(count)
            for file in (images, rows):
                os.fsync(file.fileno())
        if not count:
            raise BadInput("The source holds no image.")
        durable.write(done, b"")
    return _read(data, table, names)


def _whole(images: BinaryIO, rows: BinaryIO) -> tuple[int, int]:
    """Cut both files after the last image that is whole. Returns the end of the images and their number."""
    images.seek(0, os.SEEK_END)
    table = np.fromfile(rows.name, ROW, count=Path(rows.name).stat().st_size // ROW.itemsize)
    ends = (table["offset"] + table["size"]).astype(np.int64)
    count = int(np.searchsorted(ends, images.tell(), side="right"))
    end = int(ends[count - 1]) if count else 0
    images.truncate(end)
    rows.truncate(count * ROW.itemsize)
    return end, count


def _encoded(records: Iterable[Record], size: int, map: Callable[..., Any]) -> Iterator[list[Encoded]]:
    chunks = _chunks(records)
    while window := list(islice(chunks, WINDOW)):
        yield from map(partial(encode_all, size=size), window)


def _chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    chunk: list[Record] = []
    held = 0
    for record in records:
        chunk.append(record)
        held += record.image.nbytes if isinstance(record.image, np.ndarray) else len(record.image)  # type: ignore
        if len(chunk) >= CHUNK_RECORDS or held >= CHUNK_BYTES:
            yield chunk
            chunk, held = [], 0
    if chunk:
        yield chunk


def _append(chunk: list[Encoded], labels: dict[str, int], images: BinaryIO, rows: BinaryIO, position: int) -> int:
    """Write images, then rows. Returns the new end of the images."""
    table = np.zeros(len(chunk), dtype=ROW)
    for row, image in zip(table, chunk, strict=True):
        split, extension = SPLITS.index(image.split), EXTENSIONS.index(image.extension)
        place = (position, len(image.data), split, extension, labels[str(image.label)])
        fields = (*place, image.content, image.crc, image.width, image.height)
        for name, value in zip(ROW.names or (), fields, strict=True):
            row[name] = value
        position += len(image.data)
    images.write(b"".join(image.data for image in chunk))
    images.flush()
    rows.write(table.tobytes())
    rows.flush()
    return position


def _read(data: Path, table: Path, names: Path) -> Spool:
    rows = np.fromfile(table, ROW)
    found = json.loads(names.read_text())
    classes = sorted(found)
    place = {name: number for number, name in enumerate(classes)}
    rows["label"] = np.array([place[name] for name in found], dtype=np.uint32)[rows["label"]]
    return Spool(data, rows, classes)
