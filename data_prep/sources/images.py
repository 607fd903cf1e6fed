"""Images of the user's: an archive or folder of class folders, torchvision's CIFAR layout, or idx files."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from data_prep.sources.base import Record
from data_prep.sources.files import DOWNLOADS, FileSource
from pipeline.errors import BadInput


@dataclass
class ImageSource(FileSource):
    """What ``path`` is, is seen from what it holds.

    Class folders: the folder of an image is its class, and a folder ``train``, ``val`` or ``test`` above it its split.
    """

    kind: ClassVar[str] = "images"
    elsewhere: ClassVar[tuple[str, ...]] = (*FileSource.elsewhere, "download", "torchvision")
    download: bool = False
    """Let torchvision fetch the data set into ``path`` (default: downloads/) when it is not there."""
    torchvision: str = ""
    """Name of the class in torchvision.datasets that can fetch it."""

    def records(self) -> Iterator[Record]:
        from data_prep.sources import archives, cifar, idx

        path = self._located()
        if path.is_dir() and idx.holds(path):
            return idx.records(path)
        if cifar.holds(path):
            return cifar.records(path)
        return archives.records(path)

    def is_absent(self) -> bool:
        return not self.download and super().is_absent()

    def content(self) -> dict[str, Any]:
        if self.download:
            return {"torchvision": self.torchvision}  # torchvision checks what it fetches
        return super().content()

    def _located(self) -> Path:
        """The data, fetched first if the user said so."""
        if self.download:
            from data_prep.sources.torchvision import fetch, own_folder

            if not self.torchvision:
                raise BadInput("download=true needs data.NAME.torchvision=CLASS, a class of torchvision.datasets.")
            root = Path(self.path or DOWNLOADS).expanduser()
            fetch(self.torchvision, root, {})
            return own_folder(self.torchvision, root)
        instead = " or data.NAME.download=true" if self.torchvision else ""
        return self.located("FILE_OR_FOLDER, an archive or a folder of class folders", instead)
