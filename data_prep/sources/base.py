"""Source: the base of all. Fields are config; images come as records, one at a time, so memory stays bounded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.errors import BadInput
from pipeline.subset import UNPREPARED, Dataset

if TYPE_CHECKING:
    import numpy as np


RULES_VERSION = 4
"""Raised when the same source would give other images, splits or orders, so that prepared data is made anew."""


class Order(Enum):
    """Of the stored permutation: every prefix proportional to the classes, or balanced, or plainly random."""

    stratified = "stratified"
    balanced = "balanced"
    plain = "plain"


@dataclass
class Record:
    """One image as its source has it."""

    split: str
    """train, val or test."""
    label: str
    image: bytes | np.ndarray
    """Encoded bytes (kept as they are if they fit), or uint8 (H, W) or (H, W, 3)."""
    origin: str
    """For messages: where a person finds it."""


@dataclass
class Source:
    """Fields that every source has."""

    kind: ClassVar[str] = ""
    elsewhere: ClassVar[tuple[str, ...]] = ()
    """Fields that say where the data is or what is expected of it, not what it is."""
    image_size: int = 32
    """Side of the stored square images, pixels."""
    val_share: float = 0.1
    """Of each class, cut from training by content hash where the source has no validation split."""
    test_share: float = 0.0
    """Likewise, where the source has no test split."""
    order: Order = Order.stratified
    order_seed: int = 0

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise BadInput(f"data.*.image_size must be positive, not {self.image_size}.")
        if not 0 <= self.val_share + self.test_share < 1 or min(self.val_share, self.test_share) < 0:
            raise BadInput(
                "data.*.val_share and test_share must not be negative and leave something to train on: keep their sum "
                "below 1."
            )

        if self.order_seed < 0:
            raise BadInput(f"data.*.order_seed must not be negative, not {self.order_seed}.")

    def records(self) -> Iterator[Record]:
        """Every image, in a fixed order. Raises BadInput when the source cannot be read."""
        raise NotImplementedError

    def facts(self, name: str) -> Dataset | None:
        """What is known without reading the source, or None."""
        raise NotImplementedError

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
        return {"kind": self.kind, **{k: v for k, v in plain.items() if k not in self.elsewhere}}

    def is_absent(self) -> bool:
        """Whether the files it reads are not there, or not named."""
        return False

    def location(self) -> str:
        """Where it reads; empty when nothing is read or nothing was named."""
        return ""

    def check(self, classes: list[str]) -> None:
        """Raises BadInput when what was found is not what the preset declares."""

    def fingerprint(self) -> str:
        """Names the prepared folder: same fields, content and rules of preparing, same folder."""
        plain = json.dumps({**self.describe(), "content": self.content(), "rules": RULES_VERSION}, sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()
