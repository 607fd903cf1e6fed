"""Order: which images are held out, and the one permutation whose prefixes are all subsets.

Both are pure functions of content hashes, labels and a seed, so re-ingestion, the order in which a source was read and
any number of workers agree. Suffixes: N images, C classes.
"""

from heapq import heappop, heappush

import numpy as np

from data_prep.sources import Order


def held_out(hash_N: np.ndarray, label_N: np.ndarray, shares: tuple[float, ...]) -> np.ndarray:
    """0 for an image that stays, i + 1 for one that the i-th share takes; int8 (N,).

    Of each class, the smallest content hashes are taken, ``round(images * share)`` of them for each share. Membership
    depends on what an image shows and not on its row, and copies of one image, whatever they are labelled, land on one
    side; that alone can move the counts.
    """
    side_N = np.zeros(len(hash_N), dtype=np.int8)
    for label in np.unique(label_N):
        members = np.flatnonzero(label_N == label)
        ranked = members[np.argsort(hash_N[members], kind="stable")]
        start = 0
        for side, share in enumerate(shares, start=1):
            stop = start + round(len(members) * share)
            side_N[ranked[start:stop]] = side
            start = stop
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
    rank_N = np.concatenate([np.arange(count) for count in counts_C])
    if order is Order.balanced:
        return by_class_N[np.lexsort((tie_N, rank_N))]
    return by_class_N[_chairman(counts_C, rank_N, tie_N)]


def _chairman(counts_C: np.ndarray, rank_N: np.ndarray, tie_N: np.ndarray) -> np.ndarray:
    """Positions (in class order) in the order they are taken.

    The k-th image of a class with n_c of n images must fall into places [floor(k n / n_c), ceil((k + 1) n / n_c)).
    Earliest deadline first meets every window, which bounds the deviation of every prefix below one (Tijdeman 1980;
    Baruah et al. 1996). Ties are random, so equal classes come as one random round after another.
    """
    n = len(rank_N)
    size_N = np.repeat(counts_C, counts_C)
    release_N = rank_N * n // size_N
    deadline_N = -(-(rank_N + 1) * n // size_N)
    arrivals = np.argsort(release_N, kind="stable")
    release, deadline, tie = release_N[arrivals].tolist(), deadline_N[arrivals].tolist(), tie_N[arrivals].tolist()
    waiting: list[tuple[int, int, int]] = []
    taken = np.empty(n, dtype=np.int64)
    arrived = 0
    for place in range(n):
        while arrived < n and release[arrived] <= place:
            heappush(waiting, (deadline[arrived], tie[arrived], arrived))
            arrived += 1
        taken[place] = heappop(waiting)[2]
    return arrivals[taken]


def _random(seed: int, count: int, stream: int) -> np.ndarray:
    """uint64 (count,). Raw Philox output, which NumPy promises never to change."""
    return np.random.Philox(key=np.array([seed, stream], dtype=np.uint64)).random_raw(count)
