"""Filesystem: bodies over every protocol that fsspec has a driver for, S3 among them. Configured as fsspec is."""

import asyncio
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

    fs.invalidate_cache()
    info = _ask(fs, "info", clock.patience(), path)
    if info.get("size") is None:
        raise Refused("its size is not known there")
    return int(info["size"]), next((f"{key} {info[key]}" for key in VERSIONS if info.get(key)), "")


def _blocks(fs: Any, path: str, start: int, size: int, version: str, clock: Clock) -> Iterator[bytes]:
    for begin in range(start, size, BLOCK):
        end = min(begin + BLOCK, size)
        block = _ask(fs, "cat_file", clock.patience(), path, start=begin, end=end)
        if len(block) != end - begin:
            raise Dropped(f"{len(block)} of {end - begin} bytes came")
        yield block
    if _state(fs, path, clock) != (size, version):
        raise Changed  # while its blocks were read, one request each


def _ask(fs: Any, method: str, seconds: float, *args: Any, **kwargs: Any) -> Any:
    """What the driver's method returns. Raises Refused, Dropped, the latter too when it takes longer than so long."""
    if not fs.async_impl:
        return _within(seconds, lambda: getattr(fs, method)(*args, **kwargs))
    asked = asyncio.run_coroutine_threadsafe(getattr(fs, f"_{method}")(*args, **kwargs), fs.loop)
    try:
        return asked.result(seconds)
    except TimeoutError as error:
        asked.cancel()  # else the driver would try for minutes more, for nobody
        raise Dropped("it fell silent") from error
    except Exception as error:
        raise _meaning(error) from error


def _within(seconds: float, call: Callable[[], Any]) -> Any:
    """What the call returns. Raises Refused, and Dropped, the latter too after so many seconds, when the driver is left
    to its own time limits.
    """
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
        raise _meaning(errors[0]) from errors[0]
    return answers[0]


def _meaning(error: Exception) -> Refused | Dropped:
    certain = isinstance(error, CERTAIN) or "Credential" in type(error).__name__
    return (Refused if certain else Dropped)(_said(error))


def _said(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "it is not there (404)"
    if isinstance(error, PermissionError):
        return f"access is denied ({str(error).partition(chr(10))[0] or 403})"
    return brief(error)
