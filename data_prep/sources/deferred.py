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
        """Neighbours of one file by one opening."""
        with contextlib.ExitStack() as opened:
            path, descriptor = None, -1
            for image in images:
                if image.path != path:
                    opened.close()
                    with reading(image.path):
                        path, descriptor = image.path, os.open(image.path, os.O_RDONLY)
                    opened.callback(os.close, descriptor)
                yield image._of(descriptor)

    def _of(self, descriptor: int) -> bytes:
        data = os.pread(descriptor, self.size, self.offset)
        if len(data) < self.size:
            raise BadInput(f"{self.path} is shorter than it was: leave it alone while it is prepared.")
        return data


@dataclass(frozen=True, slots=True)
class ZipSpan(Span):
    """A member of a zip, stored or deflated, checked against its length and crc32."""

    name: str
    deflated: bool
    length: int
    """Bytes once inflated."""
    crc: int

    def _of(self, descriptor: int) -> bytes:
        data = Span._of(self, descriptor)
        if self.deflated:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, self.length + 1)
            except zlib.error as error:
                raise self._damaged() from error
        if len(data) != self.length or zlib.crc32(data) != self.crc:
            raise self._damaged()
        return data

    def _damaged(self) -> BadInput:
        return BadInput(f"{self.path} is no whole archive ({self.name} is damaged): fetch it again, or give a folder.")
