"""Order: which images are held out, and the one permutation whose prefixes are all subsets.

Both are pure functions of content hashes, labels and a seed, so re-ingestion, the order in which a source was read and
any number of workers agree. Suffixes: N images, C classes.
"""

from collections.abc import Iterator
from heapq import heappop, heappush

import numpy as np

from data_prep.sources import Order

BLOCK = 2**16
"""Images that are held as Python numbers at once."""


def held_out(hash_N: np.ndarray, label_N: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """0 for an image that stays, i + 1 for one that the i-th share takes; int8 (N,).

    Of each class, the smallest content hashes are taken, ``round(images * share)`` of them for each share. Membership
    depends on what an image shows and not on its row, and copies of one image, whatever they are labelled, land on one
    side; that alone can move the counts.
    """
    ranked_N = np.lexsort((hash_N, label_N))
    _, counts_C = np.unique(label_N, return_counts=True)
    taken_N = np.zeros(len(hash_N), dtype=np.int8)
    for first, count in zip((np.cumsum(counts_C) - counts_C).tolist(), counts_C.tolist(), strict=True):
        start = first
        for side, share in enumerate(shares, start=1):
            stop = start + round(count * share)
            taken_N[start:stop] = side
            start = stop
    side_N = np.empty_like(taken_N)
    side_N[ranked_N] = taken_N
    return _copies_together(hash_N, side_N)


def _copies_together(hash_N: np.ndarray, side_N: np.ndarray) -> np.ndarray:
    """Every copy of an image goes where its first held-out copy went."""
    kinds, kind_N = np.unique(hash_N, return_inverse=True)
    if len(kinds) == len(hash_N):
        return side_N
    side = np.zeros(len(kinds), dtype=np.int8)
    np.maximum.at(side, kind_N, side_N)
    return side[kind_N]


def permutation(label_N: np.ndarray, hash_N: np.ndarray, order: Order, seed: int) -> np.ndarray:
    """Positions in stored order, int64 (N,).

    stratified: every prefix of m images holds strictly less than one image more or less of each class than its
    proportional share m n_c / n. balanced: in every prefix, the counts of classes that still have images differ by at
    most one. plain: a random permutation. source: as they are given.
    """
    if order is Order.source:
        return np.arange(len(label_N))
    # Copies of one image are told apart by their labels; what is equal in both is the same sample.
    base_N = np.lexsort((label_N, hash_N))
    shuffled_N = base_N[_random(seed, len(label_N), stream=0).argsort(kind="stable")]
    if order is Order.plain or not len(label_N):
        return shuffled_N
    tie_N = _random(seed, len(label_N), stream=1)
    by_class_N = shuffled_N[np.argsort(label_N[shuffled_N], kind="stable")]
    _, counts_C = np.unique(label_N, return_counts=True)
    if order is Order.balanced:
        return by_class_N[np.lexsort((tie_N, _ranks(counts_C)))]
    return by_class_N[_chairman(counts_C, tie_N)]


def _ranks(counts_C: np.ndarray) -> np.ndarray:
    """Of every image in its class, int64 (N,), in class order."""
    return np.arange(counts_C.sum()) - np.repeat(np.cumsum(counts_C) - counts_C, counts_C)


def _chairman(counts_C: np.ndarray, tie_N: np.ndarray) -> np.ndarray:
    """Positions (in class order) in the order they are taken.

    The k-th image of a class with n_c of n images must fall into places [floor(k n / n_c), ceil((k + 1) n / n_c)).
    Earliest deadline first meets every window, which bounds the deviation of every prefix below one (Tijdeman 1980;
    Baruah et al. 1996). Ties are random, so equal classes come as one random round after another.
    """
    n = len(tie_N)
    rank_N, size_N = _ranks(counts_C), np.repeat(counts_C, counts_C)
    release_N = (rank_N * n // size_N).astype(np.int32 if n < 2**31 else np.int64)
    arrival_N = np.argsort(release_N, kind="stable")
    release_N = release_N[arrival_N]
    deadline_N = (-(-(rank_N + 1) * n // size_N))[arrival_N]
    urgency_N = np.lexsort((tie_N[arrival_N], deadline_N))  # stable: what is equal in both goes by arrival
    del rank_N, size_N, deadline_N
    return arrival_N[urgency_N[_earliest(release_N, urgency_N)]]


def _earliest(release_N: np.ndarray, urgency_N: np.ndarray) -> np.ndarray:
    """At every place, the most urgent of what is released by then: its place in ``urgency_N``, int64 (N,).

    Both are in order of arrival resp. of urgency. Lists hold one block at a time, which bounds the memory.
    """
    n = len(release_N)
    key_N = np.empty(n, dtype=np.int64)
    key_N[urgency_N] = np.arange(n)
    taken_N = np.empty(n, dtype=np.int64)
    waiting: list[int] = []
    arrivals = _released(release_N, key_N)
    released, key = next(arrivals)
    for start in range(0, n, BLOCK):
        taken = []
        for place in range(start, min(start + BLOCK, n)):
            while released <= place:
                heappush(waiting, key)
                released, key = next(arrivals)
            taken.append(heappop(waiting))
        taken_N[start : start + len(taken)] = taken
    return taken_N


def _released(release_N: np.ndarray, key_N: np.ndarray) -> Iterator[tuple[int, int]]:
    for start in range(0, len(release_N), BLOCK):
        yield from zip(release_N[start : start + BLOCK].tolist(), key_N[start : start + BLOCK].tolist(), strict=True)
    yield len(release_N), 0  # never reached


def _random(seed: int, count: int, stream: int) -> np.ndarray:
    """uint64 (count,). Raw Philox output, which NumPy promises never to change."""
    return np.random.Philox(key=np.array([seed, stream], dtype=np.uint64)).random_raw(count)
