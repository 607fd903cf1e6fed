"""Upcoming: which shards are needed next, from the plan and from how far reading has come.

The plan is a sequence of windows. The shards of one are read any number of times, in any order, before reading moves on
to the next: the first read of a shard of a later window does.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Collection, Container, Iterable, Sequence
from itertools import islice

HORIZON = 4
"""How far ahead the plan is read, in cache-fulls."""
MOST = 1 << 16
"""Windows that are read at once, however little is in them."""


class Upcoming:
    """Threads may share it."""

    def __init__(self, sizes: Sequence[int], limit: int) -> None:
        """Bytes of every shard, and of the cache."""
        self._sizes, self._limit = sizes, limit
        self._lock = threading.Lock()
        self.follow(())

    def follow(self, windows: Iterable[Collection[int]]) -> None:
        """From the present window on; replaces what was followed before. May be endless: it is read as needed."""
        with self._lock:
            self._source = iter(windows)
            self._windows: deque[Collection[int]] = deque()
            """From the present one on, which has the number ``_now``."""
            self._places: defaultdict[int, deque[int]] = defaultdict(deque)
            """Numbers of the windows that a shard is in."""
            self._now, self._bytes = 0, 0
            self.before: frozenset[int] = frozenset()
            """Shards of the window before the present one: a thread or two may be in it still."""
            self.present: frozenset[int] = frozenset()
            self._move(0)

    def read(self, shard: int) -> bool:
        """Called at every read. True when this begins a later window."""
        if shard in self.present or shard in self.before:
            return False
        with self._lock:
            number = self._next(shard)
            if number is None:
                return False
            if number > self._near + self._strays:
                self._strays += 1  # not where reading has come to, unless there are many of its kind
                return False
            self._move(number)
            return True

    def wanted(self, here: Container[int] = ()) -> list[int]:
        """What to fetch, soonest first, as far as it fits with what is here already."""
        with self._lock:
            shards: dict[int, None] = {}
            room = self._limit
            for shard in (shard for window in self._windows for shard in window):
                if shard not in shards:
                    room -= self._sizes[shard]
                    if room < 0:
                        break
                    shards[shard] = None
            return [shard for shard in shards if shard not in here]

    def keep(self, shard: int) -> tuple[int, int]:
        """Sorts by how much there is to be said for keeping a shard: not planned, planned late, soon, in use."""
        with self._lock:
            if shard in self.present:
                return 2, 0
            number = self._next(shard)
            return (0, 0) if number is None else (1, -number)

    def _move(self, number: int) -> None:
        """To the window of this number."""
        for _ in range(number - self._now):
            for shard in (left := self._windows.popleft()):
                self._places[shard].popleft()
            self._bytes -= self._bytes_of(left)
        self._now, self._strays = number, 0
        for window in islice(self._source, MOST):
            for shard in window:
                self._places[shard].append(number + len(self._windows))
            self._windows.append(window)
            self._bytes += self._bytes_of(window)
            if self._bytes > (HORIZON + 1) * self._limit:
                break
        self.before, self.present = self.present, frozenset(self._windows[0] if self._windows else ())
        self._near = self._last_that_fits()

    def _last_that_fits(self) -> int:
        """The number of the last window that fits with those before it, or of the next one."""
        room = self._limit
        for number, window in enumerate(self._windows, self._now):
            room -= self._bytes_of(window)
            if room < 0:
                return max(number - 1, self._now + 1)
        return self._now + len(self._windows)

    def _bytes_of(self, window: Collection[int]) -> int:
        return sum(self._sizes[shard] for shard in window)

    def _next(self, shard: int) -> int | None:
        """The number of the next window it is in."""
        return next((number for number in self._places.get(shard, ()) if number > self._now), None)
