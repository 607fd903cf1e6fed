"""Filesystem: bodies over every protocol that fsspec has a driver for, S3 among them. Configured as fsspec is."""

import os
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import fsspec

from pipeline.data.remote.body import Body, Changed, Clock, Dropped, Refused
from pipeline.errors import brief

BLOCK = 4 * 2**20
"""Bytes a request: each costs some milliseconds of CPU, and must arrive before it counts as a stall."""
VERSIONS = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "updated", "created")
"""What drivers call that which changes with the object, the surest first."""
CERTAIN = (FileNotFoundError, PermissionError, IsADirectoryError, ImportError, ValueError, TypeError)


def open_filesystem(url: str, start: int, version: str, clock: Clock) -> Body:
    """The object from byte ``start`` on, if its version is this one.

    Raises Refused, Dropped, Changed.
    """
    fs = _within(clock.patience(), lambda: _system(url if "::" in url else url.rpartition("/")[0]))
    path = fs._strip_protocol(url)
    size, found = _state(fs, path, clock)
    if start and (start > size or (version and found != version)):
        raise Changed
    return Body(start, size, found, _blocks(fs, path, start, size, found, clock))


@lru_cache(16)
def _system(root: str) -> Any:
    """One for all threads: fsspec would make one for each, which costs a second of an S3 client."""
    return fsspec.url_to_fs(root)[0]


os.register_at_fork(after_in_child=_system.cache_clear)


def _state(fs: Any, path: str, clock: Clock) -> tuple[int, str]:
    """Bytes and version of the object now."""

    def ask() -> dict[str, Any]:
        fs.invalidate_cache()
        return fs.info(path)

    info = _within(clock.patience(), ask)
    if info.get("size") is None:
        raise Refused("its size is not known there")
    return int(info["size"]), next((f"{key} {info[key]}" for key in VERSIONS if info.get(key)), "")


def _blocks(fs: Any, path: str, start: int, size: int, version: str, clock: Clock) -> Iterator[bytes]:
    for begin in range(start, size, BLOCK):
        end = min(begin + BLOCK, size)
        block = _within(clock.patience(), lambda begin=begin, end=end: fs.cat_file(path, start=begin, end=end))
        if len(block) != end - begin:
            raise Dropped(f"{len(block)} of {end - begin} bytes came")
        yield block
    if _state(fs, path, clock) != (size, version):
        raise Changed  # while its blocks were read, one request each


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """What the call returns. Raises Dropped after so many seconds, when the driver is left to its own time limits."""
    done, answers, errors = threading.Event(), [], []

    def work() -> None:
        try:
            answers.append(call())
        except Exception as error:  # every driver has its own
            errors.append(error)
        done.set()

    threading.Thread(target=work, name="fsspec", daemon=True).start()
    if not done.wait(seconds):
        raise Dropped("it fell silent")
    if errors:
        certain = isinstance(errors[0], CERTAIN) or "Credential" in type(errors[0]).__name__
        raise (Refused if certain else Dropped)(_said(errors[0])) from errors[0]
    return answers[0]


def _said(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "it is not there (404)"
    if isinstance(error, PermissionError):
        return f"access is denied ({str(error).partition(chr(10))[0] or 403})"
    return brief(error)
