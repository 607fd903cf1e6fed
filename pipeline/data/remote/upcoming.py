"""Upcoming: which shards are needed next, from the plan and from how far reading has come.

The plan is a sequence of uses: a shard is read any number of times, in any order among those of its window, before
reading moves on to the next window. The first read of a shard of a later window moves everything on.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Container, Iterable, Sequence
from itertools import islice

HORIZON = 4
"""How far ahead the sequence is read, in cache-fulls."""


class Upcoming:
    """Threads may share it."""

    def __init__(self, sizes: Sequence[int], limit: int) -> None:
        """Bytes of every shard, and of the cache."""
        self._sizes, self._limit = sizes, limit
        self._reach = max(1, limit // max([1, *sizes]))
        """Shards in a cache-full."""
        self._lock = threading.Lock()
        self.follow(())

    def follow(self, sequence: Iterable[int], window: int = 1) -> None:
        """From the present window on; replaces what was followed before. May be endless: it is read as needed."""
        with self._lock:
            self._source, self._window = iter(sequence), window
            self._uses: deque[tuple[int, int]] = deque()
            """(place, shard), from the present window on."""
            self._places: defaultdict[int, deque[int]] = defaultdict(deque)
            self._count = 0
            self.before: frozenset[int] = frozenset()
            """Shards of the window before the present one: a thread or two may be in it still."""
            self.present: frozenset[int] = frozenset()
            self._move(0)

    def read(self, shard: int) -> bool:
        """Called at every read. True when this begins a later window."""
        if shard in self.present or shard in self.before:
            return False
        with self._lock:
            place = self._next(shard)
            if place is None:
                return False
            if place >= self._end + max(self._window, self._reach) + self._strays * self._window:
                self._strays += 1  # not where reading has come to, unless there are many of its kind
                return False
            self._move(place // self._window)
            return True

    def wanted(self, here: Container[int] = ()) -> list[int]:
        """What to fetch, soonest first, as far as it fits with what is here already."""
        with self._lock:
            shards: dict[int, None] = {}
            room = self._limit
            for _, shard in self._uses:
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
            place = self._next(shard)
            return (0, 0) if place is None else (1, -place)

    def _move(self, number: int) -> None:
        """To the window of this number."""
        self._end, self._strays = (number + 1) * self._window, 0
        missing = self._end + HORIZON * self._reach - self._count
        for place, shard in enumerate(islice(self._source, missing), self._count):
            self._places[int(shard)].append(place)
            self._uses.append((place, int(shard)))
            self._count += 1
        while self._uses and self._uses[0][0] < self._end - self._window:
            self._places[self._uses.popleft()[1]].popleft()
        self.before = self.present
        self.present = frozenset(shard for place, shard in islice(self._uses, self._window) if place < self._end)

    def _next(self, shard: int) -> int | None:
        """The place of its next use after the present window."""
        return next((place for place in self._places.get(shard, ()) if place >= self._end), None)
