"""Class folders, on disk or inside a tar or zip. Nothing is extracted, so no path of an archive is ever followed.

A tar that is cut off at a member's edge, or has one damaged header, ends like a whole one for ``tarfile``; here its end
block and every header are checked, so nothing is lost in silence.
"""

import bz2
import contextlib
import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from data_prep.sources.base import Record
from pipeline.errors import BadInput

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
OPENED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
"""By the first bytes."""
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


def records(path: Path) -> Iterator[Record]:
    """Images in a fixed order. Raises BadInput for a damaged archive, an empty class, or an unreadable file."""
    folders: set[PurePosixPath] = set()
    classes: set[PurePosixPath] = set()
    for name, data in _members(path):
        if data is None:
            folders.add(name)
            continue
        split, label = _place(name, path)
        classes.add(name.parent)
        yield Record(split, label, data, f"{path}: {name}")
    if not classes:
        raise BadInput(f"{path} holds no image: give class folders with .jpg or .png files, as CLASS/x.jpg.")
    _refuse_empty(path, folders, classes)


def _refuse_empty(path: Path, folders: set[PurePosixPath], classes: set[PurePosixPath]) -> None:
    """A folder beside the class folders, with nothing in it, is a class that somebody forgot to fill."""
    beside = {folder.parent for folder in classes}
    for folder in sorted(folders - classes):
        inhabited = any(folder in image_folder.parents for image_folder in classes)
        if folder.parent in beside and not inhabited and folder.name.lower() not in SPLITS:
            raise BadInput(f"Class folder {folder} in {path} holds no image: fill or remove it.")


def _members(path: Path) -> Iterator[tuple[PurePosixPath, bytes | None]]:
    """(name, content) of images, (name, None) of folders."""
    try:
        if path.is_dir():
            yield from _folder(path)
        elif zipfile.is_zipfile(path):
            yield from _zip(path)
        else:
            yield from _tar(path)
    except PermissionError as error:
        raise BadInput(f"{error.filename or path} cannot be read (permission denied): mend its rights.") from error
    except (*BROKEN, OSError, RuntimeError) as error:  # gzip and bz2 raise OSError, an encrypted zip RuntimeError
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise BadInput(f"{path} is no whole archive ({reason}): fetch it again, or give a folder.") from error


def _folder(path: Path) -> Iterator[tuple[PurePosixPath, bytes | None]]:
    """Sorted by name. Links are followed, since they are the user's own, but no folder is entered twice."""
    entered: set[str] = set()

    def refuse(error: OSError) -> None:
        raise error

    for top, inside, files in os.walk(path, followlinks=True, onerror=refuse):
        real = os.path.realpath(top)
        if real in entered:
            inside.clear()
            continue
        entered.add(real)
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        here = PurePosixPath(Path(top).relative_to(path).as_posix())
        yield here, None
        for name in sorted(files):
            if _is_image(PurePosixPath(name)):
                yield here / name, Path(top, name).read_bytes()


def _tar(path: Path) -> Iterator[tuple[PurePosixPath, bytes | None]]:
    """Regular files only: links and devices are no images."""
    with unpacked(path) as file, tarfile.open(fileobj=file, mode="r|", tarinfo=_StrictHeader) as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every header otherwise
            name = _inside(member.name, path)
            if member.isdir():
                yield name, None
            elif member.isfile() and _is_image(name):
                content = archive.extractfile(member)
                data = content.read() if content else b""
                if len(data) != member.size:
                    raise EOFError(f"{name} ends early")
                yield name, data


@contextlib.contextmanager
def unpacked(path: Path) -> Iterator[BinaryIO]:
    """The plain bytes of a compressed or plain file. Read to its end, for there its checksum lies; ``tarfile`` would
    stop at the last member and never look at that of gzip. Raises what the decompressor raises.
    """
    with path.open("rb") as file:
        start = file.read(6)
    opened = next((opened for magic, opened in OPENED.items() if start.startswith(magic)), open)
    with opened(path, "rb") as file:
        yield file
        while file.read(2**20):
            pass


class _StrictHeader(tarfile.TarInfo):
    """Raises for a damaged header or a missing end block, where ``tarfile`` would take either for the end."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_StrictHeader":
        ends = len(buf) == tarfile.BLOCKSIZE and not any(buf)
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if ends:
                raise
            what = "it is cut off" if len(buf) < tarfile.BLOCKSIZE else f"damaged header, {error}"
            raise tarfile.ReadError(what) from error


def _zip(path: Path) -> Iterator[tuple[PurePosixPath, bytes | None]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            name = _inside(info.filename, path)
            if info.is_dir():
                yield name, None
            elif _is_image(name):
                yield name, archive.read(info)


def _is_image(name: PurePosixPath) -> bool:
    """By its ending; the ``._x.jpg`` that macOS adds to archives are not."""
    return name.suffix.lower() in IMAGES and not name.name.startswith(".")


def _inside(name: str, path: Path) -> PurePosixPath:
    """Raises BadInput for a member that points out of its archive."""
    plain = PurePosixPath(name.replace("\\", "/"))
    if plain.is_absolute() or ".." in plain.parts:
        raise BadInput(f"{path} holds {name!r}, which points out of the archive: do not trust it, make it anew.")
    return plain


def _place(name: PurePosixPath, path: Path) -> tuple[str, str]:
    """(split, class) of an image: the folder it lies in is its class, a ``train`` or ``test`` above it its split."""
    *above, last = name.parts[:-1] or ("",)
    if not last or (last.lower() in SPLITS and not any(part.lower() in SPLITS for part in above)):
        raise BadInput(
            f"Image {name} in {path} lies in no class folder: arrange images as CLASS/x.jpg or train/CLASS/x.jpg."
        )
    return next((SPLITS[part.lower()] for part in above if part.lower() in SPLITS), "train"), last
