"""Cached: a stretch of a split in the node's cache of decoded images, whole images one after another.

Suffixes: B of a batch, H, W of a stored image, S side of the square.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from data_prep.index import Index
from pipeline.data import decoded

BUILT_AT_ONCE = 16 * 2**20
"""Bytes of pixels in memory while a cache is built."""


SHARES = 8
"""Tasks that one such part is cut into."""


class Fill(Protocol):
    """Decodes images whole into ``flat``, one after another. Of those that cannot be read, which it leaves black, it
    returns (position, that of the image in its place)."""

    def __call__(self, rows: range, flat: np.ndarray) -> list[tuple[int, int]]: ...


class Cached:
    """The pixels of ``rows`` of an index; read-only."""

    def __init__(self, index: Index, rows: range, pixels: decoded.Pixels) -> None:
        """Use ``open``."""
        self.index, self.rows, self._flat = index, rows, pixels.flat
        self._starts = _starts(index, rows)
        self.replaced = {int(row): int(place) for row, place in pixels.note["replaced"]}
        """Position of every image that could not be read: that of the one in its place."""

    @classmethod
    def open(
        cls, path: Path, index: Index, rows: range, budget: int, fill: Fill, pool: ThreadPoolExecutor
    ) -> "Cached | None":
        """Built first if need be. None where it does not fit into the ``budget`` (bytes) or cannot be written."""
        if len(rows) > budget:  # a byte an image: too many to be counted
            return None
        note: dict[str, list[tuple[int, int]]] = {}
        parts = _built(index, rows, fill, pool, note)
        pixels = decoded.open_or_build(path, int(_starts(index, rows)[-1]), budget, parts, note)
        return None if pixels is None else cls(index, rows, pixels)

    def image(self, row: int) -> np.ndarray | None:
        """(H, W, 3), if it is here."""
        if row not in self.rows:
            return None
        k, entry = row - self.rows.start, self.index.rows[row]
        flat = self._flat[int(self._starts[k]) : int(self._starts[k + 1])]
        return flat.reshape(int(entry["height"]), int(entry["width"]), 3)

    def copied(self, ids_B: np.ndarray, out_BSS3: np.ndarray) -> bool:
        """Whether all of these, being of one size, could be copied at once."""
        places_B = ids_B - self.rows.start
        if len(places_B) and not 0 <= places_B.min() <= places_B.max() < len(self.rows):
            return False
        self._flat.reshape(-1, *out_BSS3.shape[1:]).take(places_B, axis=0, out=out_BSS3, mode="clip")
        return True


def _starts(index: Index, rows: range) -> np.ndarray:
    """Of every image among the pixels, bytes; int64 (rows + 1,)."""
    own = index.rows[rows.start : rows.stop]
    return np.concatenate([[0], np.cumsum(own["height"].astype(np.int64) * own["width"] * 3)])


def _built(
    index: Index, rows: range, fill: Fill, pool: ThreadPoolExecutor, note: dict[str, list[tuple[int, int]]]
) -> Iterator[np.ndarray]:
    """Flat pixels, some images at a time; ``note`` is filled at the end."""
    note["replaced"] = []
    for part in _parts(index, rows):
        share = -(-len(part) // SHARES)
        shares = [part[k : k + share] for k in range(0, len(part), share)]
        for flat, replaced in pool.map(partial(_flat, index, fill), shares):
            note["replaced"] += replaced
            yield flat


def _flat(index: Index, fill: Fill, rows: range) -> tuple[np.ndarray, list[tuple[int, int]]]:
    flat = np.zeros(int(_starts(index, rows)[-1]), np.uint8)
    return flat, fill(rows, flat)


def _parts(index: Index, rows: range) -> Iterator[range]:
    """Stretches of at most ``BUILT_AT_ONCE`` bytes of pixels, and at least one image."""
    starts, begin = _starts(index, rows), 0
    while begin < len(rows):
        end = max(begin + 1, int(np.searchsorted(starts, starts[begin] + BUILT_AT_ONCE, side="right")) - 1)
        yield rows[begin:end]
        begin = end
