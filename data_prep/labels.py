"""Labels: the classes of a data set in one order, and what of them every image carries. Suffixes: N images."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import numpy as np

from data_prep.index import LabelSets

Label = str | tuple[str, ...]
"""A class; or several or none, of multi-label data."""


@dataclass
class Labels:
    classes: list[str]
    """In the order of ``in_order``."""
    label: np.ndarray
    """int32: the class; where there may be several, the rarest of them, -1 without any."""
    sets: LabelSets | None = None
    """All of them, where there may be several."""

    def of(self, rows: np.ndarray) -> list[int] | list[list[int]]:
        """Class of each, or all its classes where there may be several."""
        if self.sets is None:
            return self.label[rows].tolist()
        return [self.sets.of(row).tolist() for row in rows.tolist()]

    def trained(self, train_N: np.ndarray) -> np.ndarray:
        """int64 (C,): images of each class among these, a mask."""
        if self.sets is None:
            return np.bincount(self.label[train_N], minlength=len(self.classes))
        return np.bincount(self.sets.take(np.flatnonzero(train_N)).ids, minlength=len(self.classes))


def resolve(code_N: np.ndarray, kinds: list[Label], also: Iterable[str] = ()) -> Labels:
    """``code_N`` counts in ``kinds``. ``also``: classes that must be there although no image has them.

    Among several labels the rarest in the whole data set stands for an image; of equally rare ones the first.
    """
    several = any(isinstance(kind, tuple) for kind in kinds)
    tuples = [kind if isinstance(kind, tuple) else (kind,) for kind in kinds]
    classes = in_order({*also, *(name for kind in tuples for name in kind)})
    number = {name: i for i, name in enumerate(classes)}
    if not several:
        return Labels(classes, np.array([number[name] for (name,) in tuples], dtype=np.int32)[code_N])
    sets = LabelSets.collect(np.array(sorted({number[name] for name in kind}), dtype=np.int32) for kind in tuples)
    frequency = _frequency(np.bincount(code_N, minlength=len(kinds)), sets, len(classes))
    rarest = [min(sets.of(k).tolist(), key=lambda c: (frequency[c], c), default=-1) for k in range(len(kinds))]
    return Labels(classes, np.array(rarest, dtype=np.int32)[code_N], sets.take(code_N))


def in_order(names: Collection[str]) -> list[str]:
    """As text; where all are whole numbers, by value, so that class 2 is the third and not behind class 10."""
    numbers = all(name.isdecimal() for name in names)
    return sorted(names, key=lambda name: (int(name) if numbers else 0, name))


def _frequency(images: np.ndarray, sets: LabelSets, classes: int) -> list[int]:
    """Images of each class, from those of each kind."""
    counts = np.zeros(classes, dtype=np.int64)
    np.add.at(counts, sets.ids, np.repeat(images, np.diff(sets.starts)))
    return counts.tolist()
