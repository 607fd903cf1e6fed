"""StoredImages: the pixels of one image, read at its place in a shard, checked and decoded. Threads may share it."""

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from data_prep.index import Index
from data_prep.manifest import Manifest
from pipeline.data.decoders import Decoder
from pipeline.data.files import ShardFiles
from pipeline.errors import BadInput, brief

AGAIN = "delete its folder and run `crossover prepare` again."


class Images(Protocol):
    """Where pixels come from."""

    def pixels(self, row: int) -> np.ndarray:
        """uint8 (H, W, 3) of the image at this position of the stored order. Raises BadInput, naming it."""
        ...

    def close(self) -> None: ...


class StoredImages:
    """Of a data set that consists of shards. Raises BadInput when one is missing or not as long as it was."""

    def __init__(self, folder: Path, split: str, manifest: Manifest, index: Index, decoder: Decoder) -> None:
        self.index, self.decoder, self.shards = index, decoder, manifest.shards[split]
        self.base = Path(manifest.base) if manifest.base else folder
        self._check_sizes()
        self.files = ShardFiles([self.base / shard.name for shard in self.shards])

    def pixels(self, row: int) -> np.ndarray:
        entry = self.index.rows[row]
        data = self._bytes(row, int(entry["shard"]), int(entry["offset"]), int(entry["size"]), int(entry["crc"]))
        try:
            pixels = self.decoder.pixels(data)
        except Exception as error:  # each library has kinds of its own
            raise self._bad(row, f"cannot be decoded ({brief(error)})") from error
        if pixels.shape[:2] != (entry["height"], entry["width"]):
            high, wide = pixels.shape[:2]
            raise self._bad(row, f"is {wide} x {high} pixels, but {entry['width']} x {entry['height']} in the index")
        return pixels

    def close(self) -> None:
        self.files.close()

    def _bytes(self, row: int, shard: int, offset: int, size: int, crc: int) -> bytes:
        try:
            data = self.files.read(shard, offset, size)
        except OSError as error:
            raise self._unreadable(shard, error) from error
        if len(data) < size or zlib.crc32(data) != crc:
            what = "is cut off" if len(data) < size else "has damaged bytes"
            raise BadInput(f"Shard {self._path(shard)} {what} at key {row:09d}: {AGAIN}")
        return data

    def _bad(self, row: int, what: str) -> BadInput:
        return BadInput(f"Shard {self._path(int(self.index.shard[row]))}, key {row:09d}: the image {what}; {AGAIN}")

    def _path(self, shard: int) -> Path:
        return self.base / self.shards[shard].name

    def _unreadable(self, shard: int, error: OSError) -> BadInput:
        return BadInput(f"Shard {self._path(shard)} is missing or unreadable ({error.strerror}): {AGAIN}")

    def _check_sizes(self) -> None:
        """Every shard is there and as long as it was written; a decoded cache must not hide that one is lost."""
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


Draw = Callable[[np.ndarray], np.ndarray]
"""Positions (B,) to images (B, S, S, 3)."""


class DrawnImages:
    """Of a procedural data set without shards."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw

    def pixels(self, row: int) -> np.ndarray:
        return self.draw(np.array([row]))[0]

    def close(self) -> None:
        """Nothing is open."""
