"""ShardFiles: bytes out of local shards, at any place, by any number of threads."""

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

OPEN = 256
"""Descriptors kept open."""


class ShardFiles:
    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths
        self._open: OrderedDict[int, int] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, shard: int, offset: int, size: int) -> bytes:
        """Shorter than ``size`` where the file ends. Raises OSError."""
        with self._lock:
            descriptor = os.dup(self._descriptor(shard)) if len(self.paths) > OPEN else self._descriptor(shard)
        try:
            return os.pread(descriptor, size, offset)
        finally:
            if len(self.paths) > OPEN:
                os.close(descriptor)

    def close(self) -> None:
        with self._lock:
            for descriptor in self._open.values():
                os.close(descriptor)
            self._open.clear()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            self.close()

    def _descriptor(self, shard: int) -> int:
        if shard not in self._open:
            self._open[shard] = os.open(self.paths[shard], os.O_RDONLY)
            if len(self._open) > OPEN:
                os.close(self._open.popitem(last=False)[1])
        self._open.move_to_end(shard)
        return self._open[shard]
