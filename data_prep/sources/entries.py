"""Entries: what lies in a folder or an archive. Nothing is extracted, so no path of an archive is ever followed.

A plain tar or a zip is only scanned, and its images are read later where they lie; a compressed tar is read as a
stream. A tar inside a tar stands for a folder of its name (ImageNet ships a tar of tars, one a class).
"""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from data_prep import zipscan
from data_prep.sources.base import Deferred
from data_prep.sources.deferred import FileImage, Span, ZipSpan
from data_prep.tarscan import BLOCK, FILE, FOLDER, DamagedTar, Forward, Member, Read, members
from data_prep.zipscan import DamagedZip
from pipeline.errors import BadInput

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
ZIP = b"PK"
OPENED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
"""By the first bytes."""
BROKEN = (DamagedTar, DamagedZip, zlib.error, lzma.LZMAError, EOFError)
WHOLE = (0, sys.maxsize)
Image = Callable[[Member], bytes | Deferred]
"""What stands for the image of a tar's member."""


class Entry(NamedTuple):
    name: str
    """With slashes, relative to the folder or archive."""
    image: bytes | Deferred | None
    """None of a folder."""


def entries(path: Path) -> Iterator[Entry]:
    """Folders and images in a fixed order. Raises BadInput for what is damaged or cannot be read."""
    yield from _folder(path) if path.is_dir() else _archive(path, "")


@contextlib.contextmanager
def whole(path: Path) -> Iterator[None]:
    """One sentence for an archive that is damaged or cannot be read."""
    try:
        yield
    except PermissionError as error:
        raise BadInput(f"{error.filename or path} cannot be read (permission denied): mend its rights.") from error
    except (*BROKEN, OSError) as error:  # gzip and bz2 raise OSError
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise BadInput(f"{path} is no whole archive ({reason}): fetch it again, or give a folder.") from error


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[tuple[Read, bool]]:
    """How to read the plain bytes of a tar, and whether they lie in the file as they are."""
    with path.open("rb") as file:
        opener = _opener(file.read(6))
        if opener is None:
            yield partial(os.pread, file.fileno()), True
        else:
            file.seek(0)
            with opener(file) as plain:
                yield Forward(plain), False


def is_image(name: str) -> bool:
    """By its ending; the ``._x.jpg`` that macOS adds to archives are not."""
    return name.lower().endswith(IMAGES) and not name.rpartition("/")[2].startswith(".")


def _opener(start: bytes) -> Callable[..., Any] | None:
    return next((opener for magic, opener in OPENED.items() if start.startswith(magic)), None)


def _folder(path: Path) -> Iterator[Entry]:
    """Sorted by name. Links are followed, since they are the user's own, but no folder is entered twice. Archives count
    only where there are no images: beside what somebody unpacked from them, they would be there twice.
    """
    entered: set[str] = set()
    archives: list[tuple[str, str]] = []
    has_images = False
    for top, inside, files in os.walk(path, followlinks=True, onerror=_refuse):
        real = os.path.realpath(top)
        if real in entered:
            inside.clear()
            continue
        entered.add(real)
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        here = _printable(os.path.relpath(top, path))
        above = "" if here == "." else f"{here}/"
        yield Entry(above.rstrip("/"), None)
        for file in sorted(files):
            name = above + _printable(file)
            if is_image(name):
                has_images = True
                yield Entry(name, FileImage(os.path.join(top, file)))
            elif stem := _stem(name) or _stem(name, (".zip",)):
                archives.append((os.path.join(top, file), stem))
    for archive, stem in archives if not has_images else []:
        yield Entry(stem, None)
        yield from _archive(Path(archive), f"{stem}/")


def _refuse(error: OSError) -> None:
    if isinstance(error, PermissionError):
        raise BadInput(f"{error.filename} cannot be read (permission denied): mend its rights.") from error
    raise error


def _printable(name: str) -> str:
    """A name of the file system as text that can be printed."""
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        return os.fsencode(name).decode("latin-1")


def _archive(path: Path, above: str) -> Iterator[Entry]:
    with whole(path):
        with path.open("rb") as file:
            is_zip = file.read(len(ZIP)) == ZIP
        yield from _zip(path, above) if is_zip else _tar_file(path, above)


def _zip(path: Path, above: str) -> Iterator[Entry]:
    with path.open("rb") as file:
        for member in zipscan.members(file.fileno()):
            name = _inside(member.name, path, above)
            if member.name.endswith("/"):
                yield Entry(name, None)
            elif is_image(name):
                if member.is_link:
                    raise BadInput(f"{path} holds a link, {name}: make it anew with the images themselves.")
                place = (str(path), member.offset, member.packed)
                yield Entry(name, ZipSpan(*place, name, member.deflated, member.size, member.crc))


def _tar_file(path: Path, above: str) -> Iterator[Entry]:
    with unpacked(path) as (read, in_place):
        if in_place:
            yield from _tar(path, read, _span(path), above, (0, path.stat().st_size))
        else:
            yield from _tar(path, read, _content(read), above)


def _tar(
    path: Path, read: Read, image: Image, above: str, part: tuple[int, int] = WHOLE, inner: bool = False
) -> Iterator[Entry]:
    """Regular files only: links and devices are no images."""
    has_images = has_archives = False
    for member in members(read, *part):
        name = _inside(member.name, path, above)
        if member.kind == FOLDER:
            yield Entry(name, None)
        elif member.kind == FILE and is_image(name):
            has_images = True
            yield Entry(name, image(member))
        elif member.kind == FILE and _stem(name):
            has_archives = True
            if inner:
                raise BadInput(f"{path} holds {name}, an archive in an archive in an archive: unpack it once.")
            yield from _inner(path, read, image, _stem(name), member)
        if has_images and has_archives:
            raise BadInput(f"{path} holds images beside archives of images, {name}: keep the ones or the others in it.")


def _inner(path: Path, read: Read, image: Image, stem: str, member: Member) -> Iterator[Entry]:
    """A tar in a tar, as a folder of its name."""
    yield Entry(stem, None)
    part = (member.offset, member.offset + member.size)
    opener = _opener(read(min(BLOCK, member.size), member.offset))
    try:
        if opener is None:
            yield from _tar(path, read, image, stem + "/", part, inner=True)
        else:
            with opener(io.BufferedReader(_Piece(read, *part))) as plain:
                forward = Forward(plain)
                yield from _tar(path, forward, _content(forward), stem + "/", inner=True)
    except (*BROKEN, OSError) as error:
        raise DamagedTar(f"{member.name}: {error}") from error


class _Piece(io.RawIOBase):
    """Bytes [start, stop) as a file. Its first block may have been read before, and is asked for alone again."""

    def __init__(self, read: Read, start: int, stop: int) -> None:
        self._read, self._position, self._first, self._stop = read, start, start, stop

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        most = BLOCK if self._position == self._first else len(buffer)
        data = self._read(min(most, len(buffer), self._stop - self._position), self._position)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _span(path: Path) -> Image:
    where = str(path)
    return lambda member: Span(where, member.offset, member.size)


def _content(read: Read) -> Image:
    def image(member: Member) -> bytes:
        data = read(member.size, member.offset)
        if len(data) < member.size:
            raise DamagedTar(f"it is cut off within {member.name}")
        return data

    return image


def _stem(name: str, endings: Sequence[str] = TARS) -> str:
    """Of an archive's name, what stands before its ending; empty for anything else."""
    ending = next((ending for ending in endings if name.lower().endswith(ending)), "")
    return name[: -len(ending)] if ending and not name.rpartition("/")[2].startswith(".") else ""


def _inside(name: str, path: Path, above: str = "") -> str:
    """Plain, below ``above``. Raises BadInput for a member that points out of its archive."""
    parts = name.replace("\\", "/").rstrip("/").split("/")
    if ".." in parts or (not parts[0] and len(parts) > 1):
        raise BadInput(f"{path} holds {name!r}, which points out of the archive: do not trust it, make it anew.")
    return (above + "/".join(part for part in parts if part and part != ".")).rstrip("/")
