"""Pack: WebDataset shards, byte-reproducible. Every image is ``KEY.jpg`` or ``KEY.png``, and after it ``KEY.cls`` with
its class or, where it may have several, ``KEY.json`` with ``{"labels": [...]}``, numbers both.

Plain USTAR with mtime 0, written by our own 512-byte headers: webdataset's writer makes PAX headers with times in
them, twice the size and never the same twice. Stock ``webdataset`` and ``tarfile`` read these shards.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data_prep import durable

BLOCK = 512
END = bytes(2 * BLOCK)
NAME, SIZE, CHECKSUM = slice(0, 100), slice(124, 135), slice(148, 156)
"""Where a header has them; everything else in it is fixed."""
FIXED = np.frombuffer(
    (
        bytes(100)
        + b"0000644\0"
        + b"0000000\0" * 2
        + b"00000000000\0" * 2
        + b" " * 8
        + b"0"
        + bytes(100)
        + b"ustar\x0000"
        + bytes(32 + 32)
        + b"0000000\0" * 2
    ).ljust(BLOCK, b"\0"),
    np.uint8,
)
"""A header without name and size, its checksum blank."""


class Item(NamedTuple):
    key: str
    extension: str
    data: bytes
    label: int | list[int]
    """Class, or all classes of an image that may have several."""

    @property
    def image(self) -> tuple[str, bytes]:
        """Member of the tar: name and content."""
        return f"{self.key}.{self.extension}", self.data

    @property
    def target(self) -> tuple[str, bytes]:
        """Likewise."""
        if isinstance(self.label, int):
            return f"{self.key}.cls", str(self.label).encode()
        return f"{self.key}.json", json.dumps({"labels": self.label}).encode()


@dataclass(frozen=True)
class Shard:
    name: str
    samples: int
    bytes: int
    sha256: str


def headers(names: Sequence[str], sizes: np.ndarray) -> np.ndarray:
    """USTAR headers of regular files, uint8 (N, 512): names of at most 100 bytes, sizes below 8 GiB."""
    blocks = np.tile(FIXED, (len(names), 1))
    blocks[:, NAME] = np.array([name.encode() for name in names], dtype="S100").view(np.uint8).reshape(-1, 100)
    blocks[:, SIZE] = _octal(sizes, 11)
    blocks[:, CHECKSUM][:, :6] = _octal(blocks.sum(axis=1, dtype=np.int64), 6)
    blocks[:, CHECKSUM][:, 6] = 0
    return blocks


def _octal(values: np.ndarray, digits: int) -> np.ndarray:
    """ASCII, uint8 (N, digits)."""
    return (values[:, None] >> (3 * np.arange(digits - 1, -1, -1)) & 7) + ord("0")


def archive(members: Sequence[tuple[str, bytes]]) -> tuple[bytearray, list[int]]:
    """A whole tar of (name, content), and where each content starts in it."""
    sizes = np.array([len(data) for _, data in members], dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(1 - -sizes // BLOCK)])
    tar = bytearray(int(first[-1]) * BLOCK + len(END))
    starts = ((first[:-1] + 1) * BLOCK).tolist()
    if members:
        blocks = np.frombuffer(tar, np.uint8).reshape(-1, BLOCK)
        blocks[first[:-1]] = headers([name for name, _ in members], sizes)
    for start, (_, data) in zip(starts, members, strict=True):
        tar[start : start + len(data)] = data
    return tar, starts


def write_shard(path: Path, items: Iterable[Item]) -> tuple[Shard, list[tuple[int, int]]]:
    """Write one shard, in place only when it is whole. Returns it and (offset, size) of each image in it.

    Takes the memory of two shards. Raises OSError, leaving nothing behind, when the disk is full.
    """
    members = []
    for item in items:
        members += [item.image, item.target]
    tar, starts = archive(members)
    with durable.opened(path) as file:
        file.write(tar)
    places = [(start, len(data)) for start, (_, data) in zip(starts[::2], members[::2], strict=True)]
    return Shard(path.name, len(places), len(tar), hashlib.sha256(tar).hexdigest()), places
