"""Reader: images of a prepared split by position, through the offset index; decoded once into a memory map if small.

Any worker, any order, any time: nothing is kept but open files. Damaged bytes raise, naming shard and key.
"""

import fcntl
import io
import os
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from data_prep.manifest import Index, read_index, read_manifest
from pipeline.errors import BadInput
from pipeline.subset import Dataset

DECODE_THREADS = max(1, min(8, os.cpu_count() or 1))


@dataclass
class Reader:
    """One split. ``gather`` gives uint8 (B, H, W, C) and int64 (B,)."""

    folder: Path
    split: str
    dataset: Dataset
    index: Index
    shards: list[Path]
    decoded: np.ndarray | None = None
    _files: dict[int, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, folder: str | Path, split: str, cache_bytes: int = 2 * 2**30) -> "Reader":
        """Raises BadInput for a folder that is not prepared, damaged, or has no such split."""
        folder = Path(folder)
        manifest = read_manifest(folder)
        index = read_index(folder, split)
        if not len(index):
            raise BadInput(f"Data set {manifest.name!r} has no {split} images: prepare it with a larger {split}_share.")
        dataset = manifest.dataset()
        reader = cls(folder, split, dataset, index, [folder / s.name for s in manifest.shards[split]])
        if len(index) * dataset.image_size**2 * dataset.channels <= cache_bytes:
            reader.decoded = reader._decoded_map()
        return reader

    def __len__(self) -> int:
        return len(self.index)

    @property
    def labels(self) -> np.ndarray:
        return self.index.label.astype(np.int64)

    def gather(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels at these positions."""
        labels = self.index.label[ids].astype(np.int64)
        if self.decoded is not None:
            return self.decoded[ids], labels
        with ThreadPoolExecutor(DECODE_THREADS) as pool:
            return np.stack(list(pool.map(self._image, ids))), labels

    def _image(self, row: int) -> np.ndarray:
        """Read, check and decode one image."""
        shard, size = int(self.index.shard[row]), int(self.index.size[row])
        data = os.pread(self._file(shard), size, int(self.index.offset[row]))
        if len(data) < size or zlib.crc32(data) != int(self.index.crc[row]):
            what = "is cut off" if len(data) < size else "has damaged bytes"
            raise BadInput(
                f"Shard {self.shards[shard]} {what} at key {int(row):09d}: delete its folder and run "
                "`crossover prepare` again."
            )
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))

    def _file(self, shard: int) -> int:
        with self._lock:
            if shard not in self._files:
                try:
                    self._files[shard] = os.open(self.shards[shard], os.O_RDONLY)
                except OSError as error:
                    raise BadInput(
                        f"Shard {self.shards[shard]} is missing or unreadable ({error.strerror}): delete its folder "
                        "and run `crossover prepare` again."
                    ) from error
            return self._files[shard]

    def _decoded_map(self) -> np.ndarray:
        """The decoded split as a read-only map, shared by all processes of the node, built by the first."""
        path = self.folder / f"{self.split}.decoded.npy"
        if not path.exists():
            with (self.folder / f".{self.split}.decoded.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not path.exists():
                    self._decode_all(path)
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def _decode_all(self, path: Path) -> None:
        side, channels = self.dataset.image_size, self.dataset.channels
        temporary = path.with_name(f".{path.name}.tmp")  # a killed builder's leftovers are overwritten
        shape = (len(self), side, side, channels)
        images = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
        with ThreadPoolExecutor(DECODE_THREADS) as pool:
            for start in range(0, len(self), 4096):
                rows = range(start, min(start + 4096, len(self)))
                images[start : rows.stop] = np.stack(list(pool.map(self._image, rows)))
        images.flush()
        del images
        os.replace(temporary, path)
