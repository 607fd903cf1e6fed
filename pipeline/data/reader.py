"""Reader: images of a prepared split by position, through the offset index; from the node's decoded cache if they fit.

Any worker, any order, any time: nothing is kept but open files. An image that cannot be read raises, naming shard and
key; or the next one of the stored order stands in for it and is counted, where the data set's policy says so.

Suffixes: N images of the split, B of a batch, H, W of a stored image, S side of the square that a model is given.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from data_prep.index import Index
from data_prep.manifest import SQUARE, Manifest, open_index, read_manifest
from pipeline.data import decoded
from pipeline.data.decoders import decoder
from pipeline.data.stored import Images, StoredImages
from pipeline.errors import BadInput
from pipeline.placement import Backend
from pipeline.subset import OnBadSample

THREADS = max(1, min(8, len(os.sched_getaffinity(0))))
"""Of one ``gather``."""
BUILT_AT_ONCE = 16 * 2**20
"""Bytes of pixels, while the cache is built."""
CENTRE = 0.875
"""Side of the middle square that is evaluated, as a share of the short side: 224 of 256 pixels."""


@dataclass(frozen=True)
class Reading:
    """How a node reads; nothing here changes which images are read."""

    backend: Backend = Backend.pillow
    cache: Path | None = None
    """The node's folder of decoded images; none: ``cache`` beside the data set's folder."""
    cache_bytes: int = 2 * 2**30
    """Decoded images kept there, of all data sets together."""
    on_bad_sample: OnBadSample = OnBadSample.fail


class Reader:
    """One split of a prepared data set; threads may share it."""

    def __init__(self, folder: Path, split: str, manifest: Manifest, index: Index, reading: Reading) -> None:
        """Use ``open``."""
        self.folder, self.split, self.manifest, self.index, self.reading = folder, split, manifest, index, reading
        self.dataset = manifest.dataset()
        self.decoder = decoder(reading.backend)
        self.images: Images = StoredImages(folder, split, manifest, index, self.decoder)
        self.replaced: dict[int, int] = {}
        """Position of every image that could not be read: that of the one in its place."""
        self.cached = range(0)
        """Positions of which the pixels lie in the decoded cache."""
        self._pixels: decoded.Pixels | None = None
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls, folder: str | Path, split: str, reading: Reading | None = None, first: int = 0, samples: int = 0
    ) -> "Reader":
        """Raises BadInput for a folder that is not prepared or damaged, a split that is empty, and a cut-off shard.

        When the whole split, or else the ``samples`` from ``first`` on that will be asked for, fit into the node's
        cache, they are kept there decoded.
        """
        folder, reading = Path(folder), reading or Reading()
        manifest = read_manifest(folder)
        index = open_index(folder, split, manifest)
        if not len(index):
            raise BadInput(f"Data set {manifest.name!r} has no {split} images: prepare it with a larger {split}_share.")
        reader = cls(folder, split, manifest, index, reading)
        if not reader._open_cache(range(len(index))) and 0 < samples <= len(index) - first:
            reader._open_cache(range(first, first + samples))
        return reader

    def __len__(self) -> int:
        return len(self.index)

    @property
    def varied(self) -> bool:
        """Whether stored images have sizes of their own, and are cut to the square as they are read."""
        return self.manifest.stored != SQUARE

    @property
    def at_once(self) -> bool:
        """Whether all that will be asked for can be copied without decoding."""
        return self._pixels is not None and not self.varied

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(S, S, 3)."""
        return self.dataset.image_size, self.dataset.image_size, self.dataset.channels

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 (N,); of multi-label data float32 (N, classes), 1 for each label."""
        return self._labels_of(np.arange(len(self)))

    @property
    def bad_samples(self) -> int:
        """Images that could not be used: left out when the data set was prepared, or replaced when read."""
        return self.manifest.skipped + len(self.replaced)

    def sizes(self, ids_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(heights, widths) of the stored images, int64 (B,)."""
        rows_B = self.index.rows[ids_B]
        return rows_B["height"].astype(np.int64), rows_B["width"].astype(np.int64)

    def middles(self, ids_B: np.ndarray) -> np.ndarray:
        """Boxes (B, 4) (top, left, height, width) that are evaluated: ``CENTRE`` of the short side, from the middle."""
        high_B, wide_B = self.sizes(ids_B)
        side_B = np.maximum(1, np.rint(CENTRE * np.minimum(high_B, wide_B)).astype(np.int64))
        return np.stack([(high_B - side_B) // 2, (wide_B - side_B) // 2, side_B, side_B], 1)

    def gather(self, ids_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint8 (B, S, S, 3) and labels (B,) or (B, classes): images at these positions, both the caller's to keep.

        Of images that vary in size, the middle. Raises BadInput naming shard and key when an image cannot be read.
        """
        ids_B = np.arange(len(self))[ids_B] if len(ids_B) else np.empty(0, np.int64)  # raises outside the split
        images = np.empty((len(ids_B), *self.image_shape), dtype=np.uint8)
        if not self._copied(ids_B, images):
            parts = [slice(k, None, THREADS) for k in range(THREADS)]
            for _ in self._pool.map(lambda part: self.read(ids_B[part], images[part]), parts):
                pass  # asking for the results raises what a thread raised
        return images, self._labels_of(ids_B)

    def read(self, ids_B: np.ndarray, out_BSS3: np.ndarray, boxes_B4: np.ndarray | None = None) -> np.ndarray:
        """Pixels of the images at these positions into ``out_BSS3``, in the calling thread; returns their labels.

        ``boxes_B4`` are what is cut out of images that vary in size; not given, their middles.
        """
        if not self._copied(ids_B, out_BSS3):
            if self.varied:
                boxes = (self.middles(ids_B) if boxes_B4 is None else boxes_B4).tolist()
                for row, box, out_SS3 in zip(ids_B.tolist(), boxes, out_BSS3, strict=True):
                    place, pixels_HW3 = self._image(row)
                    box = box if place == row else self.middles(np.array([place]))[0].tolist()
                    self.decoder.square(pixels_HW3, box, out_SS3)
            else:
                for row, out_SS3 in zip(ids_B.tolist(), out_BSS3, strict=True):
                    out_SS3[:] = self._image(row)[1]
        return self._labels_of(ids_B)

    def close(self) -> None:
        """Close the shards; the decoded pixels, if they are there, stay usable."""
        self.images.close()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(THREADS, thread_name_prefix="decode")

    def _labels_of(self, ids_B: np.ndarray) -> np.ndarray:
        """After the images were read, for then it is known which stand in for others."""
        rows_B = self._settled(ids_B)
        if self.index.sets is None:
            return self.index.label[rows_B].astype(np.int64)
        marks = np.zeros((len(rows_B), self.dataset.classes), dtype=np.float32)
        for mark, row in zip(marks, rows_B.tolist(), strict=True):
            mark[self.index.sets.of(row)] = 1.0
        return marks

    def _settled(self, ids_B: np.ndarray) -> np.ndarray:
        if not self.replaced:
            return ids_B
        return np.array([self.replaced.get(row, row) for row in ids_B.tolist()], dtype=np.int64)

    def _copied(self, ids_B: np.ndarray, out_BSS3: np.ndarray) -> bool:
        """Whether all pixels could be copied out of the cache at once."""
        if self._pixels is None or self.varied:
            return False
        places_B = self._settled(ids_B) - self.cached.start
        if len(places_B) and not 0 <= places_B.min() <= places_B.max() < len(self.cached):
            return False
        self._pixels.flat.reshape(-1, *self.image_shape).take(places_B, axis=0, out=out_BSS3, mode="clip")
        return True

    def _image(self, row: int) -> tuple[int, np.ndarray]:
        """Position and pixels (H, W, 3) of an image, or of the first readable one after it."""
        place = self.replaced.get(row, row)
        while (pixels := self._decoded(place)) is None:
            try:
                pixels = self.images.pixels(place)
                break
            except BadInput:
                place = (place + 1) % len(self)
                if self.reading.on_bad_sample is OnBadSample.fail or place == row:
                    raise
        if place != row:
            with self._lock:
                self.replaced[row] = place
        return place, pixels

    def _decoded(self, row: int) -> np.ndarray | None:
        """Pixels in the cache."""
        if self._pixels is None or row not in self.cached:
            return None
        k = row - self.cached.start
        high, wide = (int(side[0]) for side in self.sizes(np.array([row])))
        return self._pixels.flat[int(self._starts[k]) : int(self._starts[k + 1])].reshape(high, wide, 3)

    @cached_property
    def _starts(self) -> np.ndarray:
        """Of every cached image in the cache, bytes; int64 (cached + 1,)."""
        return _starts(self.index, self.cached)

    def _open_cache(self, rows: range) -> bool:
        if not self.varied:
            size = len(rows) * int(np.prod(self.image_shape))
        elif len(rows) > self.reading.cache_bytes // 3:
            return False
        else:
            size = int(_starts(self.index, rows)[-1])
        root = self.reading.cache or self.folder.parent / "cache"
        name = f"{self.manifest.index[self.split][:16]}.{rows.start}-{rows.stop}.{self.reading.backend.value}"
        note: dict[str, list[list[int]]] = {}
        parts = self._built(rows, note)
        pixels = decoded.open_or_build(root / f"{name}{decoded.ENDING}", size, self.reading.cache_bytes, parts, note)
        if pixels is not None:
            self._pixels, self.cached = pixels, rows
            self.replaced |= {int(row): int(place) for row, place in pixels.note["replaced"]}
        return pixels is not None

    def _built(self, rows: range, note: dict[str, list[list[int]]]) -> Iterator[np.ndarray]:
        """Flat pixels of these images, some at a time; black in the place of one that could not be read."""

        def pixels_of(part: range) -> list[np.ndarray]:
            found = [(row, *self._image(row)) for row in part]
            return [pixels if place == row else np.zeros(self._area(row), np.uint8) for row, place, pixels in found]

        for part in _parts(self.index, rows):
            share = -(-len(part) // THREADS)
            shares = [part[k : k + share] for k in range(0, len(part), share)]
            for images in self._pool.map(pixels_of, shares):
                yield np.concatenate([image.reshape(-1) for image in images])
        note["replaced"] = [[row, place] for row, place in sorted(self.replaced.items()) if row in rows]

    def _area(self, row: int) -> int:
        """Bytes of an image's pixels."""
        return int(self.index.rows[row]["height"]) * int(self.index.rows[row]["width"]) * 3


def _starts(index: Index, rows: range) -> np.ndarray:
    own = index.rows[rows.start : rows.stop]
    return np.concatenate([[0], np.cumsum(own["height"].astype(np.int64) * own["width"] * 3)])


def _parts(index: Index, rows: range) -> Iterator[range]:
    """Stretches of at most ``BUILT_AT_ONCE`` bytes of pixels, and at least one image."""
    starts = _starts(index, rows)
    begin = 0
    while begin < len(rows):
        end = max(begin + 1, int(np.searchsorted(starts, starts[begin] + BUILT_AT_ONCE, side="right")) - 1)
        yield rows[begin:end]
        begin = end
