"""A source for tests: the records it is given, image by image or deferred."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data_prep.sources import Deferred, Record, Source
from pipeline.errors import BadInput
from pipeline.subset import Dataset


@dataclass(frozen=True)
class FileImage(Deferred):
    path: Path

    def read(self) -> bytes:
        with (self.path.parent / "reads").open("a") as reads:
            reads.write(f"{self.path.name}\n")
        return self.path.read_bytes()


@dataclass(frozen=True)
class Squares(Deferred):
    """Drawn many at once; a negative one fails."""

    level: int

    def read(self) -> np.ndarray:
        return next(iter(self.read_all([self])))

    @classmethod
    def read_all(cls, images: Any) -> Iterable[np.ndarray]:
        for image in images:
            if image.level < 0:
                raise BadInput("It is negative: mend it.")
            yield np.full((8, 8), image.level, dtype=np.uint8)


@dataclass
class ListedSource(Source):
    kind: ClassVar[str] = "listed"
    elsewhere: ClassVar[tuple[str, ...]] = ("listed",)
    image_size: int = 8
    val_share: float = 0.0
    listed: list[Record] = field(default_factory=list)
    name: str = ""
    """Tells sources of other records apart."""

    def records(self) -> Iterator[Record]:
        yield from self.listed

    def facts(self, name: str) -> Dataset | None:
        return None
