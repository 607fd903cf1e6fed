"""Source: the base of all. Fields are config; images come as records, one at a time, so memory stays bounded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.errors import BadInput
from pipeline.subset import UNPREPARED, Dataset, OnBadSample

if TYPE_CHECKING:
    import numpy as np


RULES_VERSION = 5
"""Raised when the same source would give other images, splits or orders, so that prepared data is made anew."""


class Order(Enum):
    """Of the stored permutation: every prefix proportional to the classes, or balanced, or plainly random; or the
    source's own, for archives whose shards are to be read one after another."""

    stratified = "stratified"
    balanced = "balanced"
    plain = "plain"
    source = "source"


class Stored(Enum):
    """What is kept of each image.

    ``square``: ``image_size`` x ``image_size``. ``original``: the bytes as they came. ``short_side``: resized to a
    short side of ``short_side`` pixels where that is smaller, JPEG of ``quality``. The last two are cut to
    ``image_size`` when they are read: at random in training, from the middle otherwise.
    """

    square = "square"
    original = "original"
    short_side = "short_side"


class Deferred:
    """An image that is read where it is encoded, so that workers read in parallel. Small and picklable."""

    __slots__ = ()

    def read(self) -> bytes | np.ndarray:
        """Encoded bytes or pixels. Raises BadInput, OSError."""
        raise NotImplementedError

    @classmethod
    def read_all(cls, images: Sequence[Any]) -> Iterable[bytes | np.ndarray]:
        """Of the same kind, in order; for sources that are faster on many."""
        return (image.read() for image in images)


@dataclass
class Record:
    """One image as its source has it."""

    split: str
    """train, val or test."""
    label: str | tuple[str, ...]
    """Class; several or none for multi-label data."""
    image: bytes | np.ndarray | Deferred
    """Encoded bytes (kept as they are if they fit), or uint8 (H, W), (H, W, 3), or with alpha (H, W, 4); or where to
    read them."""
    origin: str
    """For messages: where a person finds it."""


@dataclass
class Source:
    """Fields that every source has."""

    kind: ClassVar[str] = ""
    elsewhere: ClassVar[tuple[str, ...]] = ()
    """Fields that say where the data is or what is expected of it, not what it is."""
    image_size: int = 32
    """Side of the square images that a model is given, pixels."""
    stored: Stored = Stored.square
    short_side: int = 256
    """Of ``stored=short_side``, pixels."""
    quality: int = 90
    """Of ``stored=short_side``, of the JPEG."""
    val_share: float = 0.1
    """Of each class, cut from training by content hash where the source has no validation split."""
    test_share: float = 0.0
    """Likewise, where the source has no test split."""
    order: Order = Order.stratified
    order_seed: int = 0
    distinct_from: list[str] = field(default_factory=list)
    """Data sets of the same command whose test images must not be in this one, nor near-duplicates of them."""
    on_bad_sample: OnBadSample = OnBadSample.fail
    """About an image that cannot be read, when it is prepared and when a study reads it."""

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise BadInput(f"data.*.image_size must be positive, not {self.image_size}.")
        if not 0 <= self.val_share + self.test_share < 1 or min(self.val_share, self.test_share) < 0:
            raise BadInput(
                "data.*.val_share and test_share must not be negative and leave something to train on: keep their sum "
                "below 1."
            )

        if not 1 <= self.quality <= 100 or not 1 <= self.short_side < 2**16:
            raise BadInput(
                f"data.*.quality must lie in 1 to 100 and short_side in 1 to 65535, not {self.quality} and "
                f"{self.short_side}."
            )
        if self.order_seed < 0:
            raise BadInput(f"data.*.order_seed must not be negative, not {self.order_seed}.")

    def records(self) -> Iterator[Record]:
        """Every image, in a fixed order. Raises BadInput when the source cannot be read."""
        raise NotImplementedError

    def facts(self, name: str) -> Dataset | None:
        """What is known without reading the source, or None."""
        raise NotImplementedError

    def expected(self) -> int | None:
        """Images of all splits, if that is known before they are read; for progress only."""
        facts = self.facts("")
        return facts and facts.samples + facts.val_samples + facts.test_samples

    def cut_facts(self, name: str, per_class: Sequence[int]) -> Dataset:
        """Facts of a source without splits of its own and without copies: what the shares leave of each class."""
        val = sum(round(count * self.val_share) for count in per_class)
        test = sum(round(count * self.test_share) for count in per_class)
        train = sum(per_class) - val - test
        unprepared = UNPREPARED + self.fingerprint()
        return Dataset(name, unprepared, train, len(per_class), self.image_size, 3, val, test)

    def content(self) -> dict[str, Any]:
        """What decides the content besides the fields; changes when the files change."""
        return {}

    def describe(self) -> dict[str, Any]:
        """Provenance for the manifest: fields without anything of this machine."""
        plain = {k: v.value if isinstance(v, Enum) else v for k, v in asdict(self).items()}
        left = {*self.elsewhere, "on_bad_sample"}
        if self.stored is not Stored.short_side:
            left |= {"short_side", "quality"}
        return {"kind": self.kind, **{k: v for k, v in plain.items() if k not in left}}

    def is_absent(self) -> bool:
        """Whether the files it reads are not there, or not named."""
        return False

    def location(self) -> str:
        """Where it reads; empty when nothing is read or nothing was named."""
        return ""

    def origin(self) -> str:
        """sha256 of where it reads, which is not to be told."""
        return hashlib.sha256(self.location().encode()).hexdigest()

    def check(self, classes: list[str]) -> None:
        """Raises BadInput when what was found is not what the preset declares."""

    def fingerprint(self) -> str:
        """Names the prepared folder: same fields, content and rules of preparing, same folder."""
        plain = json.dumps({**self.describe(), "content": self.content(), "rules": RULES_VERSION}, sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()
