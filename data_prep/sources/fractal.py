"""Procedural upstream data: FractalDB categories and instances, any size, from a seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from data_prep.sources.base import Record, Source
from pipeline.errors import BadInput
from pipeline.subset import Dataset

BATCH = 64
"""Images of 32 px drawn at once; fewer of larger ones, to bound memory."""


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

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("classes", "per_class", "points"):
            if getattr(self, name) < 1:
                raise BadInput(f"data.fractal.{name} must be positive, not {getattr(self, name)}.")
        if self.seed < 0:
            raise BadInput(f"data.fractal.seed must not be negative, but is {self.seed}.")
        if not 0 <= self.closeness < 1:
            raise BadInput(f"data.fractal.closeness must lie in [0, 1), not {self.closeness}.")

    def records(self) -> Iterator[Record]:
        import numpy as np

        from data_prep.fractal import category, render

        categories = [category(self.seed, c, self.image_size, self.closeness) for c in range(self.classes)]
        points = max(self.points, self.points * self.image_size**2 // 1024)
        total = self.classes * self.per_class
        batch = max(8, min(BATCH, BATCH * 1024 // self.image_size**2))
        for start in range(0, total, batch):
            serial = np.arange(start, min(start + batch, total))
            labels, instances = serial // self.per_class, serial % self.per_class
            images = render(categories, instances, labels, self.seed, self.image_size, points)
            for label, instance, image in zip(labels, instances, images, strict=True):
                yield Record("train", f"{label:05d}", image, f"fractal {label}/{instance}")

    def facts(self, name: str) -> Dataset:
        return self.cut_facts(name, [self.per_class] * self.classes)
