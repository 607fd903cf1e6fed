"""StoredImages: the pixels of one image, read at its place in a shard, checked and decoded. Threads may share it."""

import os
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Protocol

import numpy as np

from data_prep.index import Index
from data_prep.manifest import Manifest
from pipeline.data.decoders import Box, Decoder, WrongSize
from pipeline.data.files import ShardFiles
from pipeline.data.order import Window
from pipeline.data.remote import ShardCache
from pipeline.errors import BadInput, brief

AGAIN = "delete its folder and run `crossover prepare` again."


class Files(Protocol):
    """Bytes of shards, wherever they lie."""

    def read(self, shard: int, offset: int, size: int) -> bytes: ...

    def close(self) -> None: ...


class Images(Protocol):
    """Where pixels come from."""

    def read(self, row: int, box: Box | None, out: np.ndarray) -> None:
        """The box of the image at this position of the stored order, resized into ``out`` (S, S, 3); without a box, the
        whole image into ``out`` (H, W, 3). Raises BadInput, naming it."""
        ...

    def ahead(self, windows: Iterator[Window]) -> None:
        """What will be asked for next. Raises BadInput when it cannot be."""
        ...

    def close(self) -> None: ...


class StoredImages:
    """Of a data set that consists of shards on a file system.

    Raises BadInput when one is missing or not as long as it was: a decoded cache must not hide that.
    """

    def __init__(self, folder: Path, split: str, manifest: Manifest, index: Index, decoder: Decoder) -> None:
        self.index, self.decoder, self.shards = index, decoder, manifest.shards[split]
        self.places = [manifest.place(folder, shard) for shard in self.shards]
        """Path or URL of each."""
        self.files: Files = self._opened()

    def _opened(self) -> Files:
        self._check_sizes()
        return ShardFiles([Path(place) for place in self.places])

    def ahead(self, windows: Iterator[Window]) -> None:
        """All is here."""

    def read(self, row: int, box: Box | None, out: np.ndarray) -> None:
        offset, _, shard, size, _, crc, wide, high = self.index.rows[row].item()
        data = self._bytes(row, shard, offset, size, crc)
        try:
            self.decoder.read(data, (high, wide), box, out)
        except WrongSize as error:
            raise self._bad(row, str(error)) from error
        except Exception as error:  # each library has kinds of its own
            raise self._bad(row, f"cannot be decoded ({brief(error)})") from error

    def close(self) -> None:
        self.files.close()

    def _bytes(self, row: int, shard: int, offset: int, size: int, crc: int) -> bytes:
        try:
            data = self.files.read(shard, offset, size)
        except OSError as error:
            raise self._unreadable(shard, error) from error
        if len(data) < size or zlib.crc32(data) != crc:
            what = "is cut off" if len(data) < size else "has damaged bytes"
            raise BadInput(f"Shard {self.places[shard]} {what} at key {row:09d}: {AGAIN}")
        return data

    def _bad(self, row: int, what: str) -> BadInput:
        return BadInput(f"Shard {self.places[self.index.shard[row]]}, key {row:09d}: the image {what}; {AGAIN}")

    def _unreadable(self, shard: int, error: OSError) -> BadInput:
        return BadInput(f"Shard {self.places[shard]} is missing or unreadable ({error.strerror}): {AGAIN}")

    def _check_sizes(self) -> None:
        for number, shard in enumerate(self.shards):
            try:
                size = os.stat(self.places[number]).st_size
            except OSError as error:
                raise self._unreadable(number, error) from error
            if size != shard.bytes:
                ends = (self.index.offset + self.index.size).astype(np.int64)
                cut = np.flatnonzero((self.index.shard == number) & (ends > size))
                where = f" at key {cut[0]:09d}" if len(cut) else " at its end"
                what = "is cut off" if size < shard.bytes else "has bytes added"
                raise BadInput(f"Shard {self.places[number]} {what}{where}: {AGAIN}")


class RemoteImages(StoredImages):
    """Of a data set whose shards lie on an object store or a web server; a node keeps copies of those in use."""

    def __init__(
        self,
        folder: Path,
        split: str,
        manifest: Manifest,
        index: Index,
        decoder: Decoder,
        cache: Path,
        limit: int,
        deadline: float,
    ) -> None:
        """``limit`` in bytes, ``deadline`` in seconds for each shard."""
        self.cache, self.limit, self.deadline = cache / "shards", limit, deadline
        super().__init__(folder, split, manifest, index, decoder)

    def _opened(self) -> Files:
        return ShardCache(self.places, self.shards, self.cache, self.limit, self.deadline, verify=False)

    def _bytes(self, row: int, shard: int, offset: int, size: int, crc: int) -> bytes:
        """Every image is checked here, at every read, for a third of what it costs to check the shards as they come."""
        assert isinstance(self.files, ShardCache)
        if zlib.crc32(data := self.files.read(shard, offset, size)) == crc:
            return data
        self.files.renew(shard)
        return super()._bytes(row, shard, offset, size, crc)

    def ahead(self, windows: Iterator[Window]) -> None:
        """Raises BadInput where they need more shards at once than the node keeps, for every image would fetch one."""
        shards = (sorted({k for stretch in window for k in self._shards_of(*stretch)}) for window in windows)
        nearest = next(shards, [])
        size = sum(self.shards[number].bytes for number in nearest)
        if size > self.limit:
            raise BadInput(
                f"Images that are mixed with one another lie in {size / 2**30:.3g} GiB of shards, but "
                f"placement.shard_cache_gib={self.limit / 2**30:.3g} is all a node keeps: raise it; or set "
                f"study.shuffle_block to the {len(self.index) // max(1, len(self.shards)):,} images of a shard and "
                "study.shuffle_window to a few (of archives indexed in place, with data.NAME.order=source)."
            )
        assert isinstance(self.files, ShardCache)
        self.files.prefetch(chain([nearest], shards))

    def _shards_of(self, begin: int, end: int) -> list[int]:
        return np.unique(self.index.shard[begin:end]).tolist()


class DrawnImages:
    """Of a procedural data set, which has no shards: an entry's offset is the number of the instance in its class."""

    def __init__(self, render: Callable[[np.ndarray, np.ndarray], np.ndarray], index: Index) -> None:
        """``render`` takes classes (B,) and instances (B,) to images (B, S, S, 3)."""
        self.render, self.index = render, index

    def draw(self, rows_B: np.ndarray) -> np.ndarray:
        """(B, S, S, 3): much faster than one by one."""
        return self.render(self.index.label[rows_B], self.index.offset[rows_B])

    def read(self, row: int, box: Box | None, out: np.ndarray) -> None:
        out[:] = self.draw(np.array([row]))[0]

    def ahead(self, windows: Iterator[Window]) -> None:
        """Nothing is fetched."""

    def close(self) -> None:
        """Nothing is open."""
