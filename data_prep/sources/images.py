"""Images of the user's: an archive or folder of class folders, torchvision's CIFAR layout, or idx files."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from data_prep.sources.base import Record, Source
from pipeline.errors import BadInput, nearest
from pipeline.subset import UNPREPARED, Dataset

DOWNLOADS = "downloads"


@dataclass
class ImageSource(Source):
    """What ``path`` is, is seen from what it holds.

    Class folders: the folder of an image is its class, and a folder ``train``, ``val`` or ``test`` above it its split.
    """

    kind: ClassVar[str] = "images"
    elsewhere: ClassVar[tuple[str, ...]] = (
        *("path", "download", "torchvision"),
        *("classes", "samples", "val_samples", "test_samples"),
    )
    path: str = ""
    """Archive (.tar, .tar.gz, .zip) or folder."""
    download: bool = False
    """Let torchvision fetch the data set into ``path`` (default: downloads/) when it is not there."""
    torchvision: str = ""
    """Name of the class in torchvision.datasets that can fetch it."""
    classes: int | None = None
    """Declared, so that a study can be priced before its data is here; checked when it is prepared."""
    samples: int | None = None
    """Declared likewise, after the validation share is cut; what is prepared counts."""
    val_samples: int = 0
    test_samples: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("classes", 1), ("samples", 1), ("val_samples", 0), ("test_samples", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise BadInput(f"data.*.{name} must be at least {least}, not {value}.")

    def records(self) -> Iterator[Record]:
        from data_prep.sources import archives, cifar, idx

        path = self._located()
        if path.is_dir() and idx.holds(path):
            return idx.records(path)
        if cifar.holds(path):
            return cifar.records(path)
        return archives.records(path)

    def facts(self, name: str) -> Dataset | None:
        if self.samples is None or self.classes is None:
            return None
        return Dataset(
            name,
            UNPREPARED + self.fingerprint(),
            self.samples,
            self.classes,
            self.image_size,
            3,
            self.val_samples,
            self.test_samples,
        )

    def check(self, classes: list[str]) -> None:
        if self.classes is not None and len(classes) != self.classes:
            raise BadInput(
                f"{self.path or self.torchvision} holds {len(classes)} classes where {self.classes} are declared: give "
                "the right path, or set data.NAME.classes."
            )

    def is_absent(self) -> bool:
        return not self.download and not (self.path and Path(self.path).expanduser().exists())

    def location(self) -> str:
        return str(Path(self.path).expanduser().absolute()) if self.path else ""

    def content(self) -> dict[str, Any]:
        """Of a file, its size and time; of a folder, the names, sizes and times of the files in it and the names and
        times of all folders below. A file overwritten in place deeper down is not noticed.
        """
        if self.download:
            return {"torchvision": self.torchvision}  # torchvision checks what it fetches
        path = Path(self.path).expanduser()
        if not self.path or not path.exists():
            return {"path": str(path.absolute())}
        return {"path": str(path.resolve()), "entries": _stats(path)}

    def _located(self) -> Path:
        """The data, fetched first if the user said so."""
        if self.download:
            return self._fetched()
        if not self.path:
            raise BadInput(
                "This data set needs files: give data.NAME.path=FILE_OR_FOLDER"
                + (", or data.NAME.download=true." if self.torchvision else ".")
            )
        path = Path(self.path).expanduser()
        if not path.exists():
            raise BadInput(f"data path {self.path!r} does not exist: give an archive or a folder of class folders.")
        return path

    def _fetched(self) -> Path:
        if not self.torchvision:
            raise BadInput("download=true needs data.NAME.torchvision=CLASS, a class of torchvision.datasets.")
        import torchvision.datasets

        if self.torchvision not in torchvision.datasets.__all__:
            hint = nearest(self.torchvision, torchvision.datasets.__all__)
            raise BadInput(f"torchvision.datasets has no {self.torchvision!r}: {hint}")
        builder = getattr(torchvision.datasets, self.torchvision)
        root = Path(self.path or DOWNLOADS).expanduser()
        try:
            for train in (True, False):
                builder(root=str(root), train=train, download=True)
        except (OSError, RuntimeError, TypeError) as error:
            reason = " ".join(str(error).split()).rstrip(".:") or type(error).__name__
            raise BadInput(f"torchvision could not fetch {self.torchvision} into {root}: {reason}.") from error
        own = root / self.torchvision  # the MNIST family; other data sets may lie beside it
        return own if own.is_dir() else root


def _stats(path: Path) -> list[tuple[str, int, int]]:
    """(name, size, time in ns); sizes of files only."""
    if path.is_file():
        return [(path.name, path.stat().st_size, path.stat().st_mtime_ns)]
    found: list[tuple[str, int, int]] = []
    for folder, inside, files in os.walk(path):
        inside.sort()
        found.append((os.path.relpath(folder, path), 0, os.stat(folder).st_mtime_ns))
        for name in sorted(files) if folder == str(path) else []:
            stat = os.stat(os.path.join(folder, name))
            found.append((name, stat.st_size, stat.st_mtime_ns))
    return found
