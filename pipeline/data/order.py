"""Which image is the s-th of a training run: a pure function, so resume, sharing and world size cannot change it.

The global sample counter s gives epoch s // n and slot s mod n; every epoch is a whole permutation of the subset, and
batches may straddle epochs. Nothing is stored anywhere: a step number is enough.
"""

import hashlib
from functools import lru_cache

import numpy as np

from pipeline.subset import Subset


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
        ids[chosen] = epoch_permutation(subset.dataset, n, seed, epoch)[slots[chosen]]
    return (ids + subset.replicate * n) % total


@lru_cache(maxsize=4)
def epoch_permutation(dataset: str, n: int, seed: int, epoch: int) -> np.ndarray:
    """Permutation of the first n positions for one epoch, int64 (n,), not to be written to.

    The sort order of raw Philox output, which NumPy promises never to change, keyed by all that may change the order.
    """
    key = hashlib.sha256(f"{dataset}/{n}/{seed}/{epoch}".encode()).digest()
    words = np.random.Philox(key=np.frombuffer(key[:16], np.dtype("<u8"))).random_raw(n)
    order = np.argsort(words, kind="stable")
    order.flags.writeable = False
    return order
