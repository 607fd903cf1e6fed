"""Columns: which columns of a table are what, chosen by name, and what kind of metric y is."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from pipeline.errors import BadInput, nearest
from pipeline.laws.tables.reading import Source

KINDS = ("loss", "error", "accuracy")
"""error and accuracy are shares from 0 to 1; of an accuracy, 1 - y is fitted."""
ERRORS, ACCURACIES = ("error", "err"), ("acc", "accuracy", "top1", "top5")


@dataclass(frozen=True)
class Columns:
    """Names of the columns used; "" for those the table has not."""

    x: tuple[str, ...]
    y: str
    group: str = ""
    """Family; each is fitted by itself."""
    run: str = ""
    """Points of one run are drawn together."""
    config: str = ""
    """What was trained; runs of one configuration differ by their seed."""
    seed: str = ""
    weight: str = ""
    outcome: str = ""
    metric: str = ""
    """Name of the metric, where rows hold several."""
    convention: str = ""
    """How FLOPs were counted."""
    unit: str = ""
    tuned: str = ""
    """What was tuned by a grid: of its values the best at each place counts."""
    compute: str = ""
    """Training FLOPs of a run, beside the inputs x."""
    budget: str = ""
    """Nominal training FLOPs: rows that share them are one profile."""

    @property
    def beside(self) -> dict[str, str]:
        """Role -> name of the columns of numbers besides x, y and weight."""
        return {role: name for role in ("compute", "budget") if (name := getattr(self, role))}

    @property
    def runs_named(self) -> bool:
        """Whether rows of one run can be told."""
        return bool(self.run or (self.config and self.seed))

    def named(self) -> dict[str, str]:
        """Role -> name of the columns used; those of x are x, or x1, x2, ..."""
        one = len(self.x) == 1
        xs = {"x" if one else f"x{i}": column for i, column in enumerate(self.x, start=1)}
        return xs | {f.name: getattr(self, f.name) for f in fields(self) if f.name != "x" and getattr(self, f.name)}

    def check(self, source: Source, where: Mapping[str, str]) -> None:
        """Raises BadInput for columns that the source has not, with the nearest name, and for one named twice."""
        if not self.x or not all(self.x) or not self.y:
            raise BadInput("A law needs the names of its columns: x (one, or several with commas) and y.")
        roles = {column: f"--{role.rstrip('123456789')}" for role, column in self.named().items()}
        for column, role in (roles | dict.fromkeys(where, "--where")).items():
            if column not in source.cells:
                raise BadInput(f"{source.name} has no column {column!r} for {role}: {nearest(column, source.cells)}")
        if repeated := [c for c in self.x if self.x.count(c) > 1 or c == self.y]:
            raise BadInput(f"Column {repeated[0]!r} is named twice: x and y are columns of their own.")
        if repeated := [(role, c) for role, c in self.beside.items() if c in (*self.x, self.y)]:
            raise BadInput(f"Column {repeated[0][1]!r} is named twice: --{repeated[0][0]} is a column of its own.")


def kind_of(metric: str) -> str:
    """One of KINDS, by the words in the name of a metric."""
    words = "".join(c if c.isalnum() else " " for c in metric.lower()).split()
    if any(w in ERRORS for w in words):
        return "error"
    return "accuracy" if any(w in ACCURACIES for w in words) else "loss"
