"""Deferred images that lie in files: a whole file, a piece of one, a member of a zip.

A sample's own fault (gone, no rights, damaged) is BadInput; a disk's or network's stays OSError, for nothing is wrong
with the sample then.
"""

import contextlib
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.sources.base import Deferred
from pipeline.errors import BadInput


@contextlib.contextmanager
def reading(path: str | Path, named: str = "") -> Iterator[None]:
    """Turns what the user can mend into BadInput; ``named`` is who named the file."""
    where = f"{named}: " if named else ""
    try:
        yield
    except PermissionError as error:
        raise BadInput(f"{where}{path} cannot be read (permission denied): mend its rights.") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadInput(f"{where}{path} does not exist: mend the path or the file.") from error
    except IsADirectoryError as error:
        raise BadInput(f"{where}{path} is a folder where an image is needed.") from error


def read_pieces(pieces: Iterable[tuple[str | Path, int, int]]) -> Iterator[bytes]:
    """Of (path, offset, size), in order; neighbours of one file by one opening. Raises BadInput, OSError."""
    with contextlib.ExitStack() as opened:
        last, descriptor = None, -1
        for path, offset, size in pieces:
            if path != last:
                opened.close()
                with reading(path):
                    last, descriptor = path, os.open(path, os.O_RDONLY)
                opened.callback(os.close, descriptor)
            data = os.pread(descriptor, size, offset)
            if len(data) < size:
                raise BadInput(f"{path} is shorter than it was: leave it alone while it is prepared.")
            yield data


@dataclass(frozen=True, slots=True)
class FileImage(Deferred):
    """The bytes of a whole file."""

    path: str
    named: str = ""
    """Who named it, for messages."""

    def read(self) -> bytes:
        with reading(self.path, self.named), open(self.path, "rb") as file:
            return file.read()


@dataclass(frozen=True, slots=True)
class Span(Deferred):
    """``size`` bytes of a file from ``offset`` on."""

    path: str
    offset: int
    size: int

    def read(self) -> bytes:
        return next(iter(self.read_all([self])))

    @classmethod
    def read_all(cls, images: Sequence[Any]) -> Iterable[bytes]:
        pieces = read_pieces((image.path, image.offset, image.size) for image in images)
        return (image.content(piece) for image, piece in zip(images, pieces, strict=True))

    def content(self, piece: bytes) -> bytes:
        """The image, of the bytes that lie there. Raises BadInput."""
        return piece


@dataclass(frozen=True, slots=True)
class ZipSpan(Span):
    """A member of a zip, stored or deflated, checked against its length and crc32."""

    name: str
    deflated: bool
    length: int
    """Bytes once inflated."""
    crc: int

    def content(self, piece: bytes) -> bytes:
        data = piece
        if self.deflated:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(piece, self.length + 1)
            except zlib.error as error:
                raise self._damaged() from error
        if len(data) != self.length or zlib.crc32(data) != self.crc:
            raise self._damaged()
        return data

    def _damaged(self) -> BadInput:
        return BadInput(f"{self.path} is no whole archive ({self.name} is damaged): fetch it again, or give a folder.")
