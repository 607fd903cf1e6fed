"""Files: random reads of local shards through a bounded number of open descriptors. Threads may share them."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

OPEN_FILES = 256


class Descriptor:
    """An open file, closed when nobody refers to it any more.

    So a thread in the middle of a read never sees its number closed, and given to another file, by a second thread.
    """

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self.number, size, offset)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        close(self.number)


class OpenFiles:
    """The files in use by number, at most ``limit`` open at once: the least recently used is let go."""

    def __init__(self, opener: Callable[[int], Descriptor], limit: int = OPEN_FILES) -> None:
        self._opener, self._limit = opener, limit
        self._open: OrderedDict[int, Descriptor] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, number: int) -> Descriptor:
        """Raises what the opener raises. Two threads may open one file at once; both end with the same descriptor."""
        with self._lock:
            if (found := self._open.get(number)) is not None:
                self._open.move_to_end(number)
                return found
        opened = self._opener(number)  # may take long: others go on reading
        with self._lock:
            kept = self._open.setdefault(number, opened)
            while len(self._open) > self._limit:
                self._open.popitem(last=False)
            return kept

    def drop(self, number: int) -> None:
        with self._lock:
            self._open.pop(number, None)

    def clear(self) -> None:
        with self._lock:
            self._open.clear()

    def opened(self) -> dict[int, Descriptor]:
        """Least recently used first."""
        with self._lock:
            return dict(self._open)


class ShardFiles:
    """Shards on a local disk."""

    def __init__(self, paths: Sequence[Path], limit: int = OPEN_FILES) -> None:
        self._files = OpenFiles(lambda shard: Descriptor(os.open(paths[shard], os.O_RDONLY | os.O_CLOEXEC)), limit)

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Fewer bytes than ``size`` where the file ends early. Raises OSError."""
        return self._files.get(shard).read(offset, size)

    def close(self) -> None:
        self._files.clear()
