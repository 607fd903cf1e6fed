"""Decoded: pixels of a stretch of a split as one memory-mapped file in the node's cache, shared by all its processes.

The first process builds it under a lock that dies with its holder, and it appears by one rename: whoever is killed, at
any moment, the file is whole or not there. Its sha256 is taken while it is written, and checked again by whoever finds
the file touched since. The folder keeps to a budget: what was used longest ago, and is open nowhere, goes first.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from data_prep import durable
from pipeline.errors import brief

log = logging.getLogger(__name__)
ENDING = ".decoded"


@dataclass
class Pixels:
    """``flat`` is uint8 (bytes,), read-only; ``note`` is what its builder had to say. While the array lives, its
    file is not evicted."""

    flat: np.ndarray
    note: dict[str, Any]


def open_or_build(
    path: Path, size: int, budget: int, parts: Iterable[np.ndarray], note: dict[str, Any] | None = None
) -> Pixels | None:
    """The file of ``size`` bytes, whose ``parts`` are only read if it must be built. ``note`` is filled while they are.

    None, with a line in the log, when the folder cannot be written, the disk is full, or files in use leave no room in
    the ``budget`` (bytes): an optimisation may be absent.
    """
    if size > budget:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if (found := _opened(path, size)) is not None:
            return found
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (found := _opened(path, size)) is not None:
                return found
            if not _make_room(path.parent, budget - size):
                log.warning("Images are decoded anew at every use: files in use fill the cache in %s", path.parent)
                return None
            _build(path, parts, note if note is not None else {})
            return _opened(path, size)
    except OSError as error:
        log.warning("Images are decoded anew at every use, since %s cannot be written: %s", path, brief(error))
        return None


def _opened(path: Path, size: int) -> Pixels | None:
    """None when it is not there, or is not what it must be; a damaged one is removed."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            try:
                about = json.loads(_about(path).read_text())
                intact = about["size"] == size == os.fstat(file.fileno()).st_size and _matches(path, file, about)
                note = about["note"]
            except (ValueError, KeyError, TypeError):
                intact, note = False, {}
            if intact:
                # The map holds a descriptor of the same opening, and with it the lock, after the file is closed.
                flat = np.memmap(file, np.uint8, "r", shape=(size,)).view(np.ndarray)
                with contextlib.suppress(OSError):
                    os.utime(_about(path))  # the time of its last use
                return Pixels(flat, note)
    except FileNotFoundError:
        return None
    log.warning("%s is damaged and is made anew", path)
    _remove(path)
    return None


def _about(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _about(path).unlink(missing_ok=True)


def _matches(path: Path, file: BinaryIO, about: dict[str, Any]) -> bool:
    """By its digest; while nothing about the file has changed since that was taken, by that."""
    if about["state"] == _state(file):
        return True
    if hashlib.file_digest(cast(Any, file), "sha256").hexdigest() != about["sha256"]:
        return False
    with contextlib.suppress(OSError):
        durable.write(_about(path), json.dumps({**about, "state": _state(file)}).encode())
    return True


def _state(file: BinaryIO) -> list[int]:
    stat = os.fstat(file.fileno())
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


def _build(path: Path, parts: Iterable[np.ndarray], note: dict[str, Any]) -> None:
    """By plain writes: a full disk is then an error, and not the end of the process that writes to a map."""
    temporary = path.with_name(f".{path.name}.tmp")  # a killed builder's leftovers are overwritten
    digest = hashlib.sha256()
    try:
        with temporary.open("wb") as file:
            for part in parts:
                plain = np.ascontiguousarray(part).data
                file.write(plain)
                digest.update(plain)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        with path.open("rb") as file:
            state = _state(file)
        about = {"size": state[1], "sha256": digest.hexdigest(), "state": state, "note": note}
        durable.write(_about(path), json.dumps(about).encode())
    finally:
        temporary.unlink(missing_ok=True)


def _make_room(folder: Path, room: int) -> bool:
    """Evict until at most ``room`` bytes are used. False when files that are open somewhere leave no room."""
    with (folder / ".evict.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        files = sorted(_used(folder), reverse=True)
        used = sum(size for _, size, _ in files)
        while used > room and files:
            _, size, path = files.pop()
            if _evicted(path):
                used -= size
        return used <= room


def _used(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """(time of last use, bytes, path) of every file."""
    for path in folder.glob(f"*{ENDING}"):
        with contextlib.suppress(FileNotFoundError):
            size = path.stat().st_size
            about = _about(path)
            yield about.stat().st_mtime_ns if about.exists() else 0, size, path


def _evicted(path: Path) -> bool:
    """Whether it could be removed: nobody holds it open."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(path)
    except BlockingIOError:
        return False
    except FileNotFoundError:
        pass
    return True
