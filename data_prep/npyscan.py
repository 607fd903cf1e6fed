"""Npy scan: where the arrays of an .npz, or of a folder of .npy files, lie, so that rows are read in place.

Nothing is unpickled. A member of an .npz is read through once, for the checksum that rows alone cannot be held against.
"""

import contextlib
import os
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from data_prep import zipscan
from data_prep.zipscan import DamagedZip, ZipMember

PIECE = 2**20
HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
BROKEN = (DamagedZip, zipfile.BadZipFile, NotImplementedError, zlib.error, EOFError, ValueError)


@dataclass(frozen=True)
class StoredArray:
    """In C order, from byte ``start`` of ``path`` on; or, where that is None, inflated from a member of it."""

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int | None

    @property
    def row_bytes(self) -> int:
        return array_bytes(self.shape[1:], self.dtype)

    def rows(self) -> Iterator[np.ndarray]:
        """One after another. Raises OSError and what is in BROKEN."""
        with self._opened() as file:
            for _ in range(self.shape[0]):
                yield np.frombuffer(file.read(self.row_bytes), self.dtype).reshape(self.shape[1:])
            file.read(1)  # the checksum lies behind the last byte

    def load(self) -> np.ndarray:
        """The whole of it, read-only. Raises as ``rows``."""
        with self._opened() as file:
            data = file.read(array_bytes(self.shape, self.dtype))
            file.read(1)  # the checksum lies behind the last byte
        return np.frombuffer(data, self.dtype).reshape(self.shape)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        """At its first row."""
        if self.start is None:
            with zipfile.ZipFile(self.path) as archive, archive.open(f"{self.name}.npy") as file:
                _header(file)
                yield file
        else:
            with self.path.open("rb") as file:
                file.seek(self.start)
                yield file


def arrays(path: Path) -> dict[str, StoredArray]:
    """By name. Raises OSError and what is in BROKEN, naming the array, for one that is cut off, pickled or damaged."""
    found: dict[str, StoredArray] = {}
    if path.is_dir():
        for file in sorted(path.glob("*.npy")):
            found[file.stem] = _in_file(file)
    else:
        with path.open("rb") as archive:
            for member in zipscan.members(archive.fileno()):
                if member.name.endswith(".npy"):
                    array = _in_archive(path, archive, member)
                    if array.name in found:
                        raise ValueError(f"it holds {array.name} twice")
                    found[array.name] = array
    return found


def _in_file(path: Path) -> StoredArray:
    with path.open("rb") as file:
        shape, dtype = _named_header(file, path.name)
        array = StoredArray(path, path.stem, shape, dtype, file.tell())
    if array.start is None or path.stat().st_size != array.start + array_bytes(shape, dtype):
        raise ValueError(f"{path.name} is cut off, or longer than its shape says")
    return array


def _in_archive(path: Path, archive: IO[bytes], member: ZipMember) -> StoredArray:
    name = member.name.removesuffix(".npy")
    if member.deflated:
        with zipfile.ZipFile(path) as opened, opened.open(member.name) as file:
            shape, dtype = _named_header(file, member.name)
            start, header = None, file.tell()
    else:
        _check_sum(archive, member)
        archive.seek(member.offset)
        shape, dtype = _named_header(archive, member.name)
        start = archive.tell()
        header = start - member.offset
    if member.size != header + array_bytes(shape, dtype):
        raise ValueError(f"{member.name} is not as long as its shape says")
    return StoredArray(path, name, shape, dtype, start)


def _check_sum(archive: IO[bytes], member: ZipMember) -> None:
    left, position, crc = member.packed, member.offset, 0
    while left and (piece := os.pread(archive.fileno(), min(PIECE, left), position)):
        crc = zlib.crc32(piece, crc)
        left, position = left - len(piece), position + len(piece)
    if left or crc != member.crc or member.size != member.packed:
        raise ValueError(f"{member.name} is damaged")


def _named_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], np.dtype]:
    try:
        return _header(file)
    except Exception as error:  # the header is parsed as Python text, which can fail in many ways
        raise ValueError(f"{name}: {error}") from error


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = npy.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"version {version} is not known")
    shape, by_columns, dtype = HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which only unpickling could read: store numbers or text")
    if by_columns and len(shape) > 1:
        raise ValueError("it is in Fortran order: store numpy.ascontiguousarray of it")
    if min(shape, default=0) < 0:
        raise ValueError("its shape is damaged")
    return shape, dtype


def array_bytes(shape: tuple[int, ...], dtype: np.dtype) -> int:
    total = dtype.itemsize
    for side in shape:
        total *= side
    return total
