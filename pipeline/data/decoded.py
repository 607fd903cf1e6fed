"""Decoded: all images of a split as one memory-mapped file beside its shards, shared by every process of a node.

The first process builds it under a lock that dies with its holder, and it appears by one rename: whoever is killed, at
any moment, the file is whole or not there.
"""

import fcntl
import logging
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

log = logging.getLogger(__name__)


def open_or_build(path: Path, shape: tuple[int, ...], parts: Iterable[np.ndarray]) -> np.ndarray | None:
    """uint8 of ``shape``, read-only. ``parts``, only read if it must be built, are its rows in order.

    None, with a line in the log, where the folder cannot be written or the disk is full: an optimisation may be absent.
    """
    try:
        if (found := _opened(path, shape)) is not None:
            return found
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (found := _opened(path, shape)) is None:
                _build(path, shape, parts)
                found = _opened(path, shape)
        return found
    except OSError as error:
        log.warning("Images are decoded anew at every use, since %s cannot be written: %s", path, error.strerror)
        return None


def _opened(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """None when it is not there, or is not what it must be."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (FileNotFoundError, ValueError, EOFError):
        return None
    return np.asarray(found) if found.shape == shape and found.dtype == np.uint8 else None


def _build(path: Path, shape: tuple[int, ...], parts: Iterable[np.ndarray]) -> None:
    """By plain writes: a full disk is then an error, and not the end of the process that writes to a map."""
    temporary = path.with_name(f".{path.name}.tmp")  # a killed builder's leftovers are overwritten
    try:
        with temporary.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for part in parts:
                file.write(np.ascontiguousarray(part).data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
