"""Pack: WebDataset shards, byte-reproducible. ``KEY.jpg`` or ``KEY.png`` and ``KEY.cls`` for every image.

Plain USTAR with mtime 0, written by our own 512-byte headers: webdataset's writer makes PAX headers with times in
them, twice the size and never the same twice. Stock ``webdataset`` and ``tarfile`` read these shards.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

BLOCK = 512
END = bytes(2 * BLOCK)


@dataclass(frozen=True)
class Item:
    key: str
    extension: str
    data: bytes
    label: int


@dataclass(frozen=True)
class Shard:
    name: str
    samples: int
    bytes: int
    sha256: str


def header(name: str, size: int) -> bytes:
    """A USTAR header of a regular file: name of at most 100 bytes, size in bytes, everything else fixed."""
    fields = (
        name.encode().ljust(100, b"\0")
        + b"0000644\0"
        + b"0000000\0" * 2
        + f"{size:011o}\0".encode()
        + b"00000000000\0"
        + b" " * 8
        + b"0"
        + bytes(100)
        + b"ustar\x0000"
        + bytes(32 + 32)
        + b"0000000\0" * 2
        + bytes(155)
    ).ljust(BLOCK, b"\0")
    checksum = f"{sum(fields):06o}\0 ".encode()
    return fields[:148] + checksum + fields[156:]


def write_shard(path: Path, items: Iterable[Item]) -> tuple[Shard, list[tuple[int, int]]]:
    """Write one shard, in place only when it is whole. Returns it and (offset, size) of each image in it.

    Raises OSError, leaving nothing behind, when the disk is full.
    """
    digest, places, position = hashlib.sha256(), [], 0
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:

            def member(name: str, data: bytes) -> int:
                nonlocal position
                padded = header(name, len(data)) + data + bytes(-len(data) % BLOCK)
                file.write(padded)
                digest.update(padded)
                start = position + BLOCK
                position += len(padded)
                return start

            for item in items:
                places.append((member(f"{item.key}.{item.extension}", item.data), len(item.data)))
                member(f"{item.key}.cls", str(item.label).encode())
            file.write(END)
            digest.update(END)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return Shard(path.name, len(places), position + len(END), digest.hexdigest()), places
