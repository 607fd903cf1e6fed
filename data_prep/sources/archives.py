"""Class folders, on disk or inside a tar or zip. Nothing is extracted, so no path of an archive is ever followed."""

import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from data_prep.sources.base import Record
from pipeline.errors import BadInput

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def records(path: Path) -> Iterator[Record]:
    """Raises BadInput for a damaged archive, one without images, or an unreadable file."""
    found = 0
    for name, data in _members(path):
        split, label = _place(PurePosixPath(name))
        found += 1
        yield Record(split, label, data, f"{path}:{name}")
    if not found:
        raise BadInput(f"{path} holds no image: it must have class folders with {', '.join(sorted(IMAGES)[:3])} files.")


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    try:
        if path.is_dir():
            yield from _folder(path)
        elif zipfile.is_zipfile(path):
            yield from _zip(path)
        else:
            yield from _tar(path)
    except PermissionError as error:
        raise BadInput(f"{error.filename or path} cannot be read (permission denied): mend its rights.") from error
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise BadInput(
            f"{path} is no whole archive ({error}): fetch it again, or give a folder of class folders."
        ) from error


def _folder(path: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in IMAGES and file.is_file():
            yield file.relative_to(path).as_posix(), file.read_bytes()


def _tar(path: Path) -> Iterator[tuple[str, bytes]]:
    """Regular files only: links and devices are no images."""
    with tarfile.open(path, "r:*") as archive:
        for member in archive:
            if member.isfile() and PurePosixPath(member.name).suffix.lower() in IMAGES:
                file = archive.extractfile(member)
                assert file is not None
                data = file.read()
                if len(data) != member.size:
                    raise EOFError(f"{member.name} ends early")
                yield member.name, data


def _zip(path: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if not info.is_dir() and PurePosixPath(info.filename).suffix.lower() in IMAGES:
                yield info.filename, archive.read(info)


def _place(name: PurePosixPath) -> tuple[str, str]:
    """(split, class) of an image by its folders."""
    folders = [p for p in name.parts[:-1] if p not in (".", "/", "..")]
    if not folders or folders[-1].lower() in SPLITS and len(folders) == 1:
        raise BadInput(f"Image {name} lies in no class folder: arrange the images as CLASS/x.jpg or train/CLASS/x.jpg.")
    split = next((SPLITS[p.lower()] for p in folders[:-1] if p.lower() in SPLITS), "train")
    return split, folders[-1]
