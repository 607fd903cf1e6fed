"""Which image is the s-th of a training run: a pure function, so resume, sharing and world size cannot change it.

The global sample counter s gives epoch s // n and slot s mod n; every epoch is a whole permutation of the subset, and
batches may straddle epochs. Nothing is stored anywhere: a step number is enough.

Data larger than a node's cache is visited in blocks of the stored order: the blocks are permuted, then all images of
each window of blocks. Few shards are in use at once, and the order is still pure. Suffixes: B batch.
"""

import hashlib
from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from pipeline.subset import Subset

SORTED = 2**21
"""Up to this many samples a permutation is a sort, kept for the epoch; above, a cipher that needs no memory."""
ROUNDS = 6


def sample_ids(subset: Subset, total: int, seed: int, start: int, stop: int) -> np.ndarray:
    """Positions in stored order, int64 (stop - start,), of the global samples ``start`` to ``stop - 1``.

    ``total`` is the number of training images; a replicate is a rotation of the stored order by whole subsets.
    """
    n = subset.samples
    counters = np.arange(start, stop)
    epochs, slots = counters // n, counters % n
    ids = np.empty(len(counters), dtype=np.int64)
    for epoch in np.unique(epochs).tolist():
        chosen = epochs == epoch
        name = f"{subset.dataset}/{n}/{seed}/{epoch}"
        if 0 < subset.block < n:
            ids[chosen] = _windowed(name, n, subset.block, max(1, subset.window), slots[chosen])
        else:
            ids[chosen] = permuted(name, n, slots[chosen])
    return (ids + subset.replicate * n) % total


Window = list[tuple[int, int]]
"""Stretches (first, last + 1) of the stored order whose samples are mixed with one another."""


def windows(subset: Subset, total: int, seed: int, start: int, stop: int) -> Iterator[Window]:
    """What samples ``start`` to ``stop - 1`` visit, in that order."""
    n, first = subset.samples, subset.replicate * subset.samples
    for epoch in range(start // n, -(-stop // n)):
        low, high = max(start, epoch * n) - epoch * n, min(stop, (epoch + 1) * n) - epoch * n
        for window in _epoch_windows(subset, seed, epoch, low, high):
            yield [part for begin, end in window for part in _rotated(begin + first, end + first, total)]


def permuted(name: str, n: int, slots_B: np.ndarray) -> np.ndarray:
    """Where a permutation of 0 to n - 1, one for each ``name``, takes these slots; int64 (B,)."""
    return _sorted(name, n)[slots_B] if n <= SORTED else _enciphered(name, n, slots_B)


def _key(name: str) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(name.encode()).digest(), np.dtype("<u8"))


@lru_cache(maxsize=4)
def _sorted(name: str, n: int) -> np.ndarray:
    """The sort order of raw Philox output, which NumPy promises never to change; not to be written to."""
    words = np.random.Philox(key=_key(name)[:2]).random_raw(n)
    order = np.argsort(words, kind="stable")
    order.flags.writeable = False
    return order


def _enciphered(name: str, n: int, slots_B: np.ndarray) -> np.ndarray:
    """A Feistel network on the smallest square of a power of two that holds n, walked until it lands below n (Black &
    Rogaway 2002, "Ciphers with arbitrary finite domains")."""
    half = np.uint64((int(n - 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << int(half)) - 1)
    keys = np.random.Philox(key=_key(name)[:2]).random_raw(ROUNDS)
    found_B = slots_B.astype(np.uint64)
    outside = np.arange(len(found_B))
    while len(outside):
        left, right = found_B[outside] >> half, found_B[outside] & mask
        for key in keys:
            left, right = right, left ^ (_mixed(right + key) & mask)
        found_B[outside] = (left << half) | right
        outside = outside[found_B[outside] >= n]
    return found_B.astype(np.int64)


def _mixed(x: np.ndarray) -> np.ndarray:
    """The splitmix64 finaliser."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@lru_cache(maxsize=4)
def _blocks(name: str, n: int, block: int, window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks as they are visited, the slot at which each ends, and the slot at which each window ends."""
    count = -(-n // block)
    order = permuted(f"{name}/blocks", count, np.arange(count))
    ends = np.minimum(block, n - order * block).cumsum()
    return order, ends, ends[np.minimum(np.arange(window, count + window, window), count) - 1]


def _windowed(name: str, n: int, block: int, window: int, slots_B: np.ndarray) -> np.ndarray:
    order, ends, closes = _blocks(name, n, block, window)
    window_B = np.searchsorted(closes, slots_B, side="right")
    ids_B = np.empty(len(slots_B), dtype=np.int64)
    for w in np.unique(window_B).tolist():
        chosen = window_B == w
        opens = int(closes[w - 1]) if w else 0
        mixed = opens + permuted(f"{name}/window/{w}", int(closes[w]) - opens, slots_B[chosen] - opens)
        place = np.searchsorted(ends, mixed, side="right")
        begins = np.where(place > 0, ends[place - 1], 0)
        ids_B[chosen] = order[place] * block + mixed - begins
    return ids_B


def _epoch_windows(subset: Subset, seed: int, epoch: int, low: int, high: int) -> Iterator[Window]:
    n, block = subset.samples, subset.block
    if not 0 < block < n:
        yield [(0, n)]
        return
    window = max(1, subset.window)
    order, _, closes = _blocks(f"{subset.dataset}/{n}/{seed}/{epoch}", n, block, window)
    for w in range(
        int(np.searchsorted(closes, low, side="right")), int(np.searchsorted(closes, high - 1, "right")) + 1
    ):
        blocks = order[w * window : (w + 1) * window].tolist()
        yield [(b * block, min(n, (b + 1) * block)) for b in blocks]


def _rotated(begin: int, end: int, total: int) -> Iterator[tuple[int, int]]:
    begin, end = begin % total, begin % total + end - begin
    yield begin, min(end, total)
    if end > total:
        yield 0, end - total
