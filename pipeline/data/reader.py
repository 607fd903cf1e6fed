"""Reader: images of a prepared split by position, through the offset index; decoded once into a memory map if small.

Any worker, any order, any time: nothing is kept but open files. Damaged bytes raise, naming shard and key.
"""

import contextlib
import io
import os
import threading
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.index import Index
from data_prep.manifest import Manifest, open_index, read_manifest
from data_prep.pack import Shard
from pipeline.data import decoded
from pipeline.errors import BadInput
from pipeline.subset import Dataset

DECODE_THREADS = max(1, min(8, len(os.sched_getaffinity(0))))
DECODE_BATCH = 4096
AGAIN = "delete its folder and run `crossover prepare` again."


class Reader:
    """One split of a prepared data set; threads may share it. Suffixes: B images, H height, W width, C channels."""

    def __init__(self, folder: Path, split: str, manifest: Manifest, index: Index) -> None:
        """Use ``open``."""
        self.folder, self.split, self.index = folder, split, index
        self.dataset: Dataset = manifest.dataset()
        self.shards: list[Shard] = manifest.shards[split]
        self.decoded: np.ndarray | None = None
        self._files: dict[int, int] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: str | Path, split: str, cache_bytes: int = 2 * 2**30) -> "Reader":
        """Raises BadInput for a folder that is not prepared or damaged, a split that is empty, and a cut-off shard.

        A split of at most ``cache_bytes`` decoded is kept decoded on disk.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        index = open_index(folder, split, manifest)
        if not len(index):
            raise BadInput(f"Data set {manifest.name!r} has no {split} images: prepare it with a larger {split}_share.")
        reader = cls(folder, split, manifest, index)
        reader._check_sizes()
        shape = (len(index), *reader.image_shape)
        if int(np.prod(shape)) <= cache_bytes:
            path = folder / f"{split}.{manifest.index[split][:12]}.decoded.npy"
            reader.decoded = decoded.open_or_build(path, shape, reader._all())
        return reader

    def __len__(self) -> int:
        return len(self.index)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        return self.dataset.image_size, self.dataset.image_size, self.dataset.channels

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 (N,)."""
        return self.index.label.astype(np.int64)

    def gather(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint8 (B, H, W, C) and int64 (B,): images and labels at these positions, both the caller's to keep.

        Raises BadInput naming shard and key when the bytes read are not those that were packed.
        """
        labels = self.labels[ids]
        if self.decoded is not None:
            return self.decoded[ids], labels
        rows = np.arange(len(self))[ids].tolist()
        images = np.empty((len(rows), *self.image_shape), dtype=np.uint8)
        parts = [slice(k, None, DECODE_THREADS) for k in range(DECODE_THREADS)]
        for _ in self._pool.map(lambda part: self._decode(rows[part], images[part]), parts):
            pass  # asking for the results raises what a thread raised
        return images, labels

    def close(self) -> None:
        """Close the shards; the decoded map, if there is one, stays usable."""
        with self._lock:
            for descriptor in self._files.values():
                os.close(descriptor)
            self._files.clear()

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, OSError):
            self.close()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(DECODE_THREADS, thread_name_prefix="decode")

    def _all(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self), DECODE_BATCH):
            yield self.gather(np.arange(start, min(start + DECODE_BATCH, len(self))))[0]

    def _decode(self, rows: Sequence[int], images_BHWC: np.ndarray) -> None:
        """One thread's part of a batch, in place."""
        for image_HWC, row in zip(images_BHWC, rows, strict=True):
            with Image.open(io.BytesIO(self._bytes(row))) as image:
                image_HWC[:] = np.asarray(image.convert("RGB"))

    def _bytes(self, row: int) -> bytes:
        """The stored bytes of one image, checked."""
        shard, size = int(self.index.shard[row]), int(self.index.size[row])
        try:
            data = os.pread(self._file(shard), size, int(self.index.offset[row]))
        except OSError as error:
            raise self._unreadable(shard, error) from error
        if len(data) < size or zlib.crc32(data) != int(self.index.crc[row]):
            what = "is cut off" if len(data) < size else "has damaged bytes"
            raise BadInput(f"Shard {self._path(shard)} {what} at key {row:09d}: {AGAIN}")
        return data

    def _file(self, shard: int) -> int:
        with self._lock:
            if shard not in self._files:
                try:
                    self._files[shard] = os.open(self._path(shard), os.O_RDONLY)
                except OSError as error:
                    raise self._unreadable(shard, error) from error
            return self._files[shard]

    def _path(self, shard: int) -> Path:
        return self.folder / self.shards[shard].name

    def _unreadable(self, shard: int, error: OSError) -> BadInput:
        return BadInput(f"Shard {self._path(shard)} is missing or unreadable ({error.strerror}): {AGAIN}")

    def _check_sizes(self) -> None:
        """Every shard is there and as long as it was written; a decoded map must not hide that one is lost."""
        for number, shard in enumerate(self.shards):
            try:
                size = self._path(number).stat().st_size
            except OSError as error:
                raise self._unreadable(number, error) from error
            if size != shard.bytes:
                ends = (self.index.offset + self.index.size).astype(np.int64)
                cut = np.flatnonzero((self.index.shard == number) & (ends > size))
                where = f" at key {cut[0]:09d}" if len(cut) else " at its end"
                what = "is cut off" if size < shard.bytes else "has bytes added"
                raise BadInput(f"Shard {self._path(number)} {what}{where}: {AGAIN}")
