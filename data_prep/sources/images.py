"""Images of the user's: an archive or folder of class folders, torchvision's CIFAR layout, or idx files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from data_prep.sources.base import Record, Source
from pipeline.errors import BadInput
from pipeline.subset import Dataset


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
    val_samples: int = 0
    test_samples: int = 0

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
            f"unprepared:{self.fingerprint()}",
            self.samples,
            self.classes,
            self.image_size,
            3,
            self.val_samples,
            self.test_samples,
        )

    def content(self) -> dict[str, Any]:
        """Of a file, its size and time; of a folder, the newest of those of its entries two levels down."""
        path = Path(self.path).expanduser()
        if not self.path or not path.exists():
            return {"path": str(path.absolute())}
        entries = [path, *(sorted(path.glob("*")) if path.is_dir() else [])]
        stats = [(p.name, p.stat().st_size if p.is_file() else 0, p.stat().st_mtime_ns) for p in entries]
        return {"path": str(path.resolve()), "entries": stats}

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

        builder = getattr(torchvision.datasets, self.torchvision, None)
        if builder is None:
            raise BadInput(f"torchvision.datasets has no {self.torchvision!r}.")
        root = Path(self.path or "downloads").expanduser()
        try:
            for train in (True, False):
                builder(root=str(root), train=train, download=True)
        except (OSError, RuntimeError, TypeError) as error:
            raise BadInput(f"torchvision could not fetch {self.torchvision} into {root}: {error}.") from error
        return root
