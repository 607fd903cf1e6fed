"""Part: one file of the spool. Encoded images one behind the other, then a table that says what each is, then the place
of the table.
"""

import io
import json
import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data_prep.labels import Label
from pipeline.errors import BadInput

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
bytes, pixels, numbers in SPLITS and EXTENSIONS."""
EXTENSIONS = ("jpg", "png")
PLACE = 8
"""Bytes of the place of the table."""


@dataclass(frozen=True)
class Skipped:
    """An image that cannot be read."""

    label: Label
    origin: str
    reason: str


@dataclass
class Table:
    rows: np.ndarray
    """Structured (N,) of ROW; its labels count in ``labels``."""
    labels: list[Label]
    skipped: list[Skipped] = field(default_factory=list)
    thumbnails: np.ndarray | None = None
    """uint8 (N, 16, 16, 3), where copies will be looked for."""
    origins: list[str] = field(default_factory=list)
    """Likewise."""


def path_of(folder: Path, first: int) -> Path:
    """Of the part that begins with this record of the source."""
    return folder / f"{first:012d}.part"


def write_table(file: BinaryIO, table: Table) -> None:
    """Behind the images."""
    place = file.tell()
    skipped = [(one.label, one.origin, one.reason) for one in table.skipped]
    note = json.dumps({"labels": table.labels, "skipped": skipped, "origins": table.origins})
    arrays = {"rows": table.rows, "note": np.frombuffer(note.encode(), np.uint8)}
    if table.thumbnails is not None:
        arrays["thumbnails"] = table.thumbnails
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    file.write(buffer.getvalue() + place.to_bytes(PLACE, "little"))


def read_table(path: Path) -> Table:
    """Raises BadInput when the file is damaged, as it may be after a power cut."""
    try:
        with path.open("rb") as file:
            file.seek(-PLACE, os.SEEK_END)
            file.seek(int.from_bytes(file.read(PLACE), "little"))
            with np.load(io.BytesIO(file.read()[:-PLACE]), allow_pickle=False) as table:
                rows, note = table["rows"], json.loads(table["note"].tobytes())
                thumbnails = table.get("thumbnails")
        skipped = [Skipped(label_of(label), origin, reason) for label, origin, reason in note["skipped"]]
        return Table(rows, [label_of(label) for label in note["labels"]], skipped, thumbnails, note["origins"])
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise damaged(path) from error


def damaged(path: Path) -> BadInput:
    return BadInput(f"{path} was damaged on the disk and is left out: run the same command again.")


def label_of(plain: str | list[str]) -> Label:
    """From JSON."""
    return plain if isinstance(plain, str) else tuple(plain)
