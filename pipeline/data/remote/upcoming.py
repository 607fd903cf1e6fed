"""Upcoming: which shards are needed next, from the plan and from how far reading has come.

The plan is a sequence of uses. A use is a stretch in which a shard is read any number of times, in any order among its
neighbours, as in a window of blocks that are mixed with one another. What is as near as one cache-full counts as
neighbourhood: a shard that is named again within it is still the same use, and a use that lies further behind the
newest one is over, whether it took place or not.
"""

import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from itertools import islice

HORIZON = 4
"""How far ahead the sequence is read, in cache-fulls."""
SCAN = 1 << 16
"""Most elements of the sequence read at once: of a set that fits into the cache, all repeat within a neighbourhood."""


class Upcoming:
    """Threads may share it."""

    def __init__(self, sizes: Sequence[int], limit: int) -> None:
        """Bytes of every shard, and of the cache."""
        self._sizes, self._limit = sizes, limit
        self._reach = max(1, limit // max([1, *sizes]))
        self._lock = threading.Lock()
        self._in_use: set[int] = set()
        self.follow(())

    def follow(self, sequence: Iterable[int]) -> None:
        """From the present position on; replaces what was followed before. May be endless: it is read as needed."""
        with self._lock:
            self._source = iter(sequence)
            self._uses: deque[tuple[int, int]] = deque()
            """(place, shard), not yet over; begun ones are no longer in ``_places``."""
            self._places: defaultdict[int, deque[int]] = defaultdict(deque)
            self._recent: deque[int] = deque(maxlen=self._reach)
            self._newest, self._count = -1, 0
            self._in_use = set()
            self._refill()

    def read(self, shard: int) -> bool:
        """Called at every read. True when this begins a new use, so that another shard may be fetched."""
        if shard in self._in_use:
            return False
        with self._lock:
            place = self._next(shard)
            begins = place is not None and place <= self._newest + self._reach
            if place is not None and begins:
                self._places[shard].popleft()
                if place > self._newest:
                    self._newest = place
                    self._in_use = set()  # what is still in use will be read again at once
                    self._refill()
            self._in_use.add(shard)
            return begins

    def wanted(self) -> list[int]:
        """What to have here, soonest first, as far as it fits beside what is in use."""
        with self._lock:
            names: dict[int, None] = {}
            room = self._limit - sum(self._sizes[shard] for shard in self._in_use)
            for place, shard in self._uses:
                if shard in self._in_use or self._next(shard) != place:
                    continue
                room -= self._sizes[shard]
                if room < 0:
                    break
                names[shard] = None
            return list(names)

    def keep(self, shard: int) -> tuple[int, int]:
        """Sorts by how much there is to be said for keeping a shard: not planned, planned late, soon, in use."""
        with self._lock:
            if self._newest >= 0 and shard in self._in_use:
                return 2, 0
            place = self._next(shard)
            return (0, 0) if place is None else (1, -place)

    def _next(self, shard: int) -> int | None:
        """The place of its next use."""
        places = self._places.get(shard, ())
        while places and self._over(places[0]):
            places.popleft()
        return places[0] if places else None

    def _over(self, place: int) -> bool:
        return place <= self._newest - self._reach

    def _refill(self) -> None:
        while self._uses and self._over(self._uses[0][0]):
            self._uses.popleft()
        for shard in islice(self._source, SCAN):
            shard = int(shard)
            if shard not in self._recent:
                self._recent.append(shard)
                self._places[shard].append(self._count)
                self._uses.append((self._count, shard))
                self._count += 1
            if self._count > self._newest + HORIZON * self._reach:
                break
