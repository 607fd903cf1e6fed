"""Subset: which samples. Every subset is a prefix of one permutation of its data set, so subsets are nested."""

from dataclasses import dataclass, field
from enum import Enum

from pipeline.errors import BadInput

UNPREPARED = "unprepared:"
"""Begins the id of a data set of which only the declared facts are known."""


class OnBadSample(Enum):
    """What to do about an image that cannot be read: say so and stop, or leave it out and count it."""

    fail = "fail"
    skip_and_count = "skip_and_count"


@dataclass(frozen=True)
class Subset:
    """The first ``samples`` images of a data set in its stored (stratified) order."""

    dataset: str
    """Dataset id: sha256 of its manifest."""
    samples: int
    replicate: int = field(default=0, metadata={"neutral": 0})
    """Another draw of the same size: the order rotated by this many subset lengths."""
    block: int = field(default=0, metadata={"neutral": 0})
    """Samples in a row that are visited together, for data larger than a node's cache; 0: one permutation of all."""
    window: int = field(default=0, metadata={"neutral": 0})
    """Blocks that are mixed with one another."""


@dataclass(frozen=True)
class Dataset:
    """What everybody needs to know of a data set without opening it."""

    name: str
    id: str
    samples: int
    """Training images."""
    classes: int
    image_size: int
    channels: int
    val_samples: int
    test_samples: int = 0
    multilabel: bool = False

    @property
    def prepared(self) -> bool:
        """Whether it was read and counted, so that its facts are more than declared."""
        return not self.id.startswith(UNPREPARED)

    def prefix(self, size: int, where: str) -> int:
        """Training images that ``size`` asks for; 0 is all. Raises BadInput, naming ``where``, for too many."""
        if size < 0:
            raise BadInput(f"{where} must not be negative, not {size} (0 is the whole data set).")
        if size > self.samples:
            raise BadInput(
                f"{where} asks for {size:,} training images, but {self.name} has {self.samples:,}: "
                "lower it, or use 0 for all of them."
            )
        return size or self.samples
