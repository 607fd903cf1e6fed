"""Order: which images are held out, and the one permutation whose prefixes are all subsets.

Both are pure functions of content hashes, labels and a seed, so re-ingestion and any number of workers agree.
"""

import numpy as np

from data_prep.sources import Order


def cut_by_hash(hashes: np.ndarray, labels: np.ndarray, share: float) -> np.ndarray:
    """Mask of the held-out images: of each class the share with the smallest content hash.

    Membership depends on what an image shows, not on its row; an image and its duplicate land on one side.
    """
    held = np.zeros(len(hashes), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        count = round(len(members) * share)
        if count:
            threshold = np.sort(hashes[members])[count - 1]
            held[members[hashes[members] <= threshold]] = True
    return held


def permutation(labels: np.ndarray, hashes: np.ndarray, order: Order, seed: int) -> np.ndarray:
    """Positions in stored order.

    stratified: the k-th of the n_c images of class c, in an order shuffled by the seed, gets key (k + u) / n_c with
    its own u in [0, 1); sorted by key, every prefix holds each class in proportion, within one image. balanced: key
    k + u, so every prefix is class-balanced until a class runs out.
    """
    generator = np.random.Generator(np.random.Philox(seed))
    base = np.lexsort((np.arange(len(labels)), hashes))  # independent of the order the source was read in
    shuffled = base[generator.permutation(len(labels))]
    if order is Order.plain:
        return shuffled
    offset = generator.random(len(labels))
    key = np.empty(len(labels))
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        rank = np.arange(len(members)) + offset[members]
        key[members] = rank / len(members) if order is Order.stratified else rank
    return np.argsort(key, kind="stable")
