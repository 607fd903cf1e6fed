"""Reader: images of a prepared split by position, through the offset index; from the node's decoded cache if they fit.

Any worker, any order, any time: nothing is kept but open files. An image that cannot be read raises, naming shard and
key; or the next one of the stored order stands in for it and is counted, where the data set's policy says so.

Suffixes: N images of the split, B of a batch, H, W of a stored image, S side of the square that a model is given.
"""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.fractal import draw
from data_prep.index import Index
from data_prep.manifest import SQUARE, Manifest, open_index, read_manifest
from pipeline.data.cached import Cached
from pipeline.data.decoded import ENDING
from pipeline.data.decoders import decoder
from pipeline.data.order import Window
from pipeline.data.remote import Unavailable
from pipeline.data.stored import DrawnImages, Images, RemoteImages, StoredImages
from pipeline.errors import BadInput
from pipeline.placement import Backend, Placement
from pipeline.subset import OnBadSample

THREADS = max(1, min(8, len(os.sched_getaffinity(0))))
"""Of one ``gather``."""
CENTRE = 0.875
"""Side of the middle square that is evaluated, as a share of the short side: 224 of 256 pixels."""


@dataclass(frozen=True)
class Reading:
    """How a node reads; nothing here changes which images are read."""

    backend: Backend = Backend.pillow
    cache: Path | None = None
    """The node's folder for decoded images and shards from elsewhere; none: ``cache`` beside the data set's folder."""
    cache_bytes: int = 2 * 2**30
    """Decoded images kept there, of all data sets together."""
    on_bad_sample: OnBadSample = OnBadSample.fail
    shard_bytes: int = 64 * 2**30
    """Shards from elsewhere kept there."""
    fetch_seconds: float = 300.0
    """Within which such a shard comes or is an error."""

    @classmethod
    def of(cls, placement: Placement, on_bad_sample: OnBadSample) -> "Reading":
        return cls(
            backend=placement.decoder,
            cache=Path(placement.cache_folder),
            cache_bytes=int(placement.cache_gib * 2**30),
            on_bad_sample=on_bad_sample,
            shard_bytes=int(placement.shard_cache_gib * 2**30),
            fetch_seconds=placement.fetch_seconds,
        )


class Reader:
    """One split of a prepared data set; threads may share it."""

    def __init__(self, folder: Path, split: str, manifest: Manifest, index: Index, reading: Reading) -> None:
        """Use ``open``."""
        self.folder, self.split, self.manifest, self.index, self.reading = folder, split, manifest, index, reading
        self.dataset = manifest.dataset()
        self.decoder = decoder(reading.backend)
        self.cache = reading.cache or folder.parent / "cache"
        self.images: Images = self._source()
        self.replaced: dict[int, int] = {}
        """Position of every image that could not be read: that of the one in its place."""
        self._cached: Cached | None = None
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
    def cached(self) -> range:
        """Positions of which the pixels lie in the node's decoded cache."""
        return self._cached.rows if self._cached else range(0)

    @property
    def at_once(self) -> bool:
        """Whether batches are copied rather than decoded."""
        return self._cached is not None and not self.varied

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
        if self.at_once:
            return images, self.read(ids_B, images)
        parts = [slice(k, None, THREADS) for k in range(THREADS)]
        for _ in self._pool.map(lambda part: self.read(ids_B[part], images[part]), parts):
            pass  # asking for the results raises what a thread raised
        return images, self._labels_of(ids_B)

    def read(self, ids_B: np.ndarray, out_BSS3: np.ndarray, boxes_B4: np.ndarray | None = None) -> np.ndarray:
        """Pixels of the images at these positions into ``out_BSS3``, in the calling thread; returns their labels.

        ``boxes_B4`` are what is cut out of images that vary in size; not given, their middles.
        """
        if self._cached and not self.varied and self._cached.copied(self._settled(ids_B), out_BSS3):
            pass
        elif isinstance(self.images, DrawnImages):
            out_BSS3[:] = self.images.draw(ids_B)
        else:
            boxes: list[Any] = [None] * len(ids_B)
            if self.varied:
                boxes = (self.middles(ids_B) if boxes_B4 is None else boxes_B4).tolist()
            for row, box, out_SS3 in zip(ids_B.tolist(), boxes, out_BSS3, strict=True):
                self._read(row, box, out_SS3)
        return self._labels_of(ids_B)

    def ahead(self, windows: Iterator[Window]) -> None:
        """Say where images will be asked for next.

        Raises BadInput when shards from elsewhere cannot be read so, since a node may not keep that many.
        """
        if len(self.cached) < len(self):
            self.images.ahead(windows)

    def close(self) -> None:
        """Close the shards; what is in the decoded cache stays usable."""
        self.images.close()

    def _source(self) -> Images:
        if self.manifest.virtual:
            return DrawnImages(partial(draw, self.manifest.virtual), self.index)
        own = (self.folder, self.split, self.manifest, self.index, self.decoder)
        if "://" not in self.manifest.base:
            return StoredImages(*own)
        return RemoteImages(*own, self.cache, self.reading.shard_bytes, self.reading.fetch_seconds)

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

    def _read(self, row: int, box: Any, out_SS3: np.ndarray) -> None:
        """By the box of this image, or the middle of the one that stands in for it."""

        def attempt(place: int) -> None:
            own = box if place == row or not self.varied else self.middles(np.array([place]))[0].tolist()
            pixels_HW3 = self._cached.image(place) if self._cached else None
            if pixels_HW3 is None:
                self.images.read(place, own, out_SS3)
            elif own is None:
                out_SS3[:] = pixels_HW3
            else:
                self.decoder.square(pixels_HW3, own, out_SS3)

        self._until_readable(row, attempt)

    def _fill(self, rows: range, flat: np.ndarray) -> list[tuple[int, int]]:
        """Of the cache: whole images, one after another."""
        if isinstance(self.images, DrawnImages):
            flat[:] = self.images.draw(np.array(rows)).reshape(-1)
            return []
        places, start = [], 0
        for row, high, wide in zip(rows, *self.sizes(np.array(rows)), strict=True):
            out_HW3 = flat[start : start + int(high * wide * 3)].reshape(high, wide, 3)
            places.append(self._until_readable(row, partial(self._whole, row, out_HW3)))
            start += out_HW3.size
        return [(row, place) for row, place in zip(rows, places, strict=True) if place != row]

    def _whole(self, row: int, out_HW3: np.ndarray, place: int) -> None:
        """Keeps the pixels only if they are the image's own; one that stands in may have another size."""
        if place != row:
            out_HW3[:] = 0
            high_1, wide_1 = self.sizes(np.array([place]))
            out_HW3 = np.empty((int(high_1[0]), int(wide_1[0]), 3), np.uint8)
        self.images.read(place, None, out_HW3)

    def _until_readable(self, row: int, attempt: Callable[[int], None]) -> int:
        """Attempt this image, then the next ones, until one can be read; remember and return which."""
        place = self.replaced.get(row, row)
        while True:
            try:
                attempt(place)
                break
            except Unavailable:
                raise  # no fault of the image, and none of its neighbours would fare better
            except BadInput:
                place = (place + 1) % len(self)
                if self.reading.on_bad_sample is OnBadSample.fail or place == row:
                    raise
        if place != row:
            with self._lock:
                self.replaced[row] = place
        return place

    def _open_cache(self, rows: range) -> bool:
        name = f"{self.manifest.index[self.split][:16]}.{rows.start}-{rows.stop}.{self.reading.backend.value}{ENDING}"
        self._cached = Cached.open(
            self.cache / name, self.index, rows, self.reading.cache_bytes, self._fill, self._pool
        )
        if self._cached:
            self.replaced |= self._cached.replaced
        return self._cached is not None
