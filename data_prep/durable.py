"""Durable: files that are there whole or not at all, also after a power cut."""

import os
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Temporary file, fsync, rename. Raises OSError, leaving nothing behind, when the disk is full."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


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
