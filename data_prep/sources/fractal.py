"""Procedural upstream data: FractalDB categories and instances, any size, from a seed."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, ClassVar

import numpy as np

from data_prep.fractal import Category, batch_size, category, contents, drawing, render
from data_prep.sources.base import Deferred, Record, Source
from pipeline.errors import BadInput
from pipeline.subset import Dataset

MOST = 2**20
"""Instances of a category that have random numbers of their own."""


@dataclass
class FractalSource(Source):
    """``classes`` x ``per_class`` images, cut into splits by the shares. Nothing is read."""

    kind: ClassVar[str] = "fractal"
    classes: int = 64
    per_class: int = 300
    seed: int = 0
    points: int = 2048
    """Points of the chaos game per image, at least; grows with the area from 32 px on."""
    closeness: float = 0.0
    """0: independent categories. Towards 1, ten categories each approach a common base and are harder to tell apart."""
    virtual: bool = False
    """Make no files: the images are drawn whenever they are read."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("classes", "per_class", "points"):
            if getattr(self, name) < 1:
                raise BadInput(f"data.fractal.{name} must be positive, not {getattr(self, name)}.")
        if self.per_class > MOST:
            raise BadInput(f"data.fractal.per_class can be {MOST:,} at most, not {self.per_class:,}: add classes.")
        if self.seed < 0:
            raise BadInput(f"data.fractal.seed must not be negative, but is {self.seed}.")
        if not 0 <= self.closeness < 1:
            raise BadInput(f"data.fractal.closeness must lie in [0, 1), not {self.closeness}.")

    def records(self) -> Iterator[Record]:
        look = Look(self.seed, self.image_size, self._points(), self.closeness)
        for label in range(self.classes):
            for instance in range(self.per_class):
                yield Record(
                    "train", self.class_name(label), Drawn(look, label, instance), f"fractal {label}/{instance}"
                )

    @staticmethod
    def class_name(label: int) -> str:
        return f"{label:05d}"

    def drawing(self) -> dict[str, Any]:
        """What ``data_prep.fractal.draw`` draws a virtual set by, as plain JSON."""
        look = Look(self.seed, self.image_size, self._points(), self.closeness)
        return drawing([look.category(label) for label in range(self.classes)], self.seed, look.size, look.points)

    def numbered(self, drawing: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of every image of a virtual set: label, instance, and a hash of what decides it; int64 and uint64 (N,)."""
        label_N, instance_N = np.divmod(np.arange(self.classes * self.per_class), self.per_class)
        return label_N, instance_N, contents(drawing, label_N, instance_N)

    def facts(self, name: str) -> Dataset:
        return self.cut_facts(name, [self.per_class] * self.classes)

    def _points(self) -> int:
        return max(self.points, self.points * self.image_size**2 // 1024)


@dataclass(frozen=True, slots=True)
class Look:
    """What the images of one set have in common."""

    seed: int
    size: int
    points: int
    closeness: float

    def category(self, label: int) -> Category:
        """Found once in every process, by a search."""
        return _category(self.seed, label, self.size, self.closeness)


_category = lru_cache(2**16)(category)


@dataclass(frozen=True, slots=True)
class Drawn(Deferred):
    """One image, drawn where it is encoded; many at once take a fifth of the time."""

    look: Look
    label: int
    instance: int

    def read(self) -> np.ndarray:
        return next(iter(self.read_all([self])))

    @classmethod
    def read_all(cls, images: Sequence[Any]) -> Iterable[np.ndarray]:
        """uint8 (S, S, 3) each."""
        for look, run in groupby(images, lambda image: image.look):
            listed = list(run)
            for start in range(0, len(listed), batch_size(look.size)):
                batch = listed[start : start + batch_size(look.size)]
                label_B, instance_B = (np.array([getattr(i, name) for i in batch]) for name in ("label", "instance"))
                systems = {label: look.category(label) for label in set(label_B.tolist())}
                yield from render(systems, instance_B, label_B, look.seed, look.size, look.points)
