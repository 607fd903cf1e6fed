"""Body: the bytes of one remote object from an offset on, and the three ways in which they may not come."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit

from pipeline.errors import BadInput

STALL_SECONDS = 20.0


@dataclass
class Clock:
    """Of one object, from the first request to the last byte."""

    deadline_seconds: float
    stall_seconds: float = STALL_SECONDS
    """Silence that counts as a lost connection."""
    _began: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Seconds until the deadline."""
        return self._began + self.deadline_seconds - time.monotonic()

    def patience(self) -> float:
        """Seconds to wait for the next sign of life."""
        return min(self.stall_seconds, max(self.left(), 0.01))


@dataclass
class Body:
    start: int
    """Offset of the first byte that comes: not what was asked for, but 0, where the server knows no ranges."""
    size: int | None
    """Of the whole object, bytes; None where the server does not say."""
    version: str
    """What changes when the object does (ETag, or when it was modified); "" where the server does not say."""
    blocks: Iterator[bytes]
    """In order. Raises Dropped, Changed. Ends early where the sender does."""
    ends: bool = True
    """Whether the end is marked, by a size or otherwise: else a body that was cut off looks like a whole one."""
    close: Callable[[], None] = lambda: None
    """Must be called, whatever was read."""


class Unavailable(BadInput):
    """A shard does not come, or cannot be kept: which says nothing about the images in it."""


class Refused(Exception):
    """It will not come, however often one asks: says what answered."""


class Dropped(Exception):
    """It may come another time: says what happened."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait
        """Seconds that the server asked for."""


class Changed(Exception):
    """The object is not, or may not be, the one whose first bytes are here already."""


def shown(url: str) -> str:
    """The address for people and logs: without a query or a password, which may be secret."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
