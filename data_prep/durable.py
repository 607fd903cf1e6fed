"""Durable: files that are there whole or not at all, also after a power cut."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def opened(path: Path, sync: bool = True) -> Iterator[BinaryIO]:
    """To be written to: a temporary file, then fsync and rename. Raises OSError, leaving nothing behind, when the disk
    is full. Without ``sync`` a power cut may leave less; nobody else ever sees a half."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write(path: Path, data: bytes) -> None:
    """Raises OSError, leaving nothing behind, when the disk is full."""
    with opened(path) as file:
        file.write(data)


def rename_folder(folder: Path, target: Path) -> None:
    """Publish a finished folder. Raises OSError (ENOTEMPTY) when something else is in the way."""
    _sync(folder)
    os.replace(folder, target)
    _sync(target.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
