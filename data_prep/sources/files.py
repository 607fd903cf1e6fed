"""Sources that read files of the user's: where they lie, what is declared of them, and when they changed."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from data_prep.sources.base import Source
from pipeline.errors import BadInput
from pipeline.subset import UNPREPARED, Dataset

DOWNLOADS = "downloads"
"""Where torchvision fetches to, unless told."""


@dataclass
class DeclaredFacts(Source):
    """What a preset declares of data that is not here yet, so that a study can be priced; checked when it is."""

    elsewhere: ClassVar[tuple[str, ...]] = ("classes", "samples", "val_samples", "test_samples")
    classes: int | None = None
    samples: int | None = None
    """Training images, after the validation share is cut; what is prepared counts."""
    val_samples: int = 0
    test_samples: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("classes", 1), ("samples", 1), ("val_samples", 0), ("test_samples", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise BadInput(f"data.*.{name} must be at least {least}, not {value}.")

    def facts(self, name: str) -> Dataset | None:
        if self.samples is None or self.classes is None:
            return None
        counts = (self.samples, self.classes, self.image_size, 3, self.val_samples, self.test_samples)
        return Dataset(name, UNPREPARED + self.fingerprint(), *counts)

    def check(self, classes: list[str]) -> None:
        if self.classes is not None and len(classes) != self.classes:
            raise BadInput(
                f"{self.location() or self.kind} holds {len(classes)} classes where {self.classes} are declared: give "
                "the right path, or set data.NAME.classes."
            )


@dataclass
class FileSource(DeclaredFacts):
    """Reads ``path``."""

    elsewhere: ClassVar[tuple[str, ...]] = (*DeclaredFacts.elsewhere, "path")
    path: str = ""
    """Archive (.tar, .tar.gz, .zip), file or folder."""

    def is_absent(self) -> bool:
        return not (self.path and Path(self.path).expanduser().exists())

    def location(self) -> str:
        return str(Path(self.path).expanduser().absolute()) if self.path else ""

    def content(self) -> dict[str, Any]:
        """Of a file, its size and time; of a folder, the names, sizes and times of the files in it and the names and
        times of all folders below. A file overwritten in place deeper down is not noticed.
        """
        path = Path(self.path).expanduser()
        if not self.path or not path.exists():
            return {"path": str(path.absolute())}
        return {"path": str(path.resolve()), "entries": stats(path)}

    def located(self, what: str, instead: str = "") -> Path:
        """The path; ``what`` it should be and what the user may give ``instead`` are for the sentence."""
        if not self.path:
            raise BadInput(f"This data set needs files: give data.NAME.path={what}{instead}.")
        path = Path(self.path).expanduser().absolute()  # workers may have another working folder
        if not path.exists():
            raise BadInput(f"data path {self.path!r} does not exist: give {what}{instead}.")
        return path


def stats(path: Path) -> list[tuple[str, int, int]]:
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
