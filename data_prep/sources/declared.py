"""Declared: a data set of which only the numbers are known, so that a study on it can be priced."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from data_prep.sources.base import Record, Source
from pipeline.errors import BadInput
from pipeline.subset import UNPREPARED, Dataset


@dataclass
class DeclaredSource(Source):
    """It has facts and no images: a plan takes it, a run refuses it."""

    kind: ClassVar[str] = "declared"
    elsewhere: ClassVar[tuple[str, ...]] = ("reason",)
    samples: int = 0
    """Training images."""
    classes: int = 0
    """0 leaves every classifier's head out of the count."""
    val_samples: int = 0
    test_samples: int = 0
    reason: str = "put images of yours in its place with data=folder"
    """Why nothing is here, and what to use instead: the end of a sentence."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.samples < 1 or min(self.classes, self.val_samples, self.test_samples) < 0:
            raise BadInput("A declared data set needs data.*.samples, and no count of it may be negative.")

    def records(self) -> Iterator[Record]:
        """Raises BadInput."""
        raise BadInput(f"This data set is only declared, so that studies can be priced: {self.reason}.")

    def facts(self, name: str) -> Dataset:
        unprepared = UNPREPARED + self.fingerprint()
        counts = (self.samples, self.classes, self.image_size, 3, self.val_samples, self.test_samples)
        return Dataset(name, unprepared, *counts)
