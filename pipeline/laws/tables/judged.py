"""Judged: the rows of a source, each fit to be used or with the column and the reason why not."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import BadInput
from pipeline.laws import gates
from pipeline.laws.tables.cells import name, number
from pipeline.laws.tables.columns import Columns
from pipeline.laws.tables.reading import Source

TEXTS = ("group", "run", "config", "seed", "outcome", "tuned")
UNFINISHED, DIVERGED = "is not finished", "diverged"
MEND = "mend it, or leave such rows out and have them listed (--drop-bad)"


@dataclass(frozen=True)
class Dropped:
    """A row of the source that is not fitted, and why. The first row below the header is 1."""

    row: int
    column: str
    reason: str


@dataclass
class Judged:
    """``kept`` are indices of rows; ``numbers`` (x, y, weight, what is beside) and ``texts`` are theirs."""

    source: Source
    columns: Columns
    kind: str
    kept: list[int] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    numbers: dict[int, list[float]] = field(default_factory=dict)
    texts: dict[str, dict[int, str]] = field(default_factory=dict)

    def judge(self, rows: Sequence[int]) -> None:
        seen: dict[Any, int] = {}
        for i in rows:
            column, reason = self._unfit(i)
            if not reason:
                column, reason = self._repeats(i, seen)
            if reason:
                self.dropped.append(Dropped(i + 1, column, reason))
            else:
                self.kept.append(i)

    def refuse(self) -> None:
        """Raises BadInput for the first row dropped, unless its run is known to have diverged."""
        bad = [d for d in self.dropped if not d.reason.startswith(DIVERGED)]
        if not bad:
            return
        if all(d.reason.startswith(UNFINISHED) for d in bad):
            rows = sorted([*self.kept, *(d.row - 1 for d in self.dropped)])
            gates.finished({self.who(i): name(self.source.cells[self.columns.outcome][i])[0] for i in rows})
        first, more = bad[0], len(bad) - 1
        others = f" ({more} more row{'s' if more > 1 else ''} cannot be used)" if more else ""
        raise BadInput(f"{self.source.name}, row {first.row}, column {first.column!r} {first.reason}{others}: {MEND}.")

    def run(self, i: int) -> str:
        """Name of the run that a row belongs to, within its group."""
        c, cells = self.columns, self.source.cells
        if c.run:
            return name(cells[c.run][i])[0]
        if c.config and c.seed:
            return f"{name(cells[c.config][i])[0]} seed {name(cells[c.seed][i])[0]}"
        return f"row {i + 1}"

    def who(self, i: int) -> str:
        """The same with its group."""
        c = self.columns
        return f"{name(self.source.cells[c.group][i])[0]} {self.run(i)}" if c.group else self.run(i)

    def _unfit(self, i: int) -> tuple[str, str]:
        """(column, why this row cannot be fitted)."""
        c, cells = self.columns, self.source.cells
        outcome = name(cells[c.outcome][i])[0] if c.outcome else gates.FINISHED[0]
        if not gates.ended(outcome):
            return c.outcome, f"{UNFINISHED} ({outcome or 'no outcome'})"
        for role in TEXTS:
            if column := getattr(c, role):
                text, wrong = name(cells[column][i])
                if wrong and role != "outcome":
                    return column, wrong
                self.texts.setdefault(role, {})[i] = text
        numbers = [(column, *number(cells[column][i], "x")) for column in c.x]
        numbers.append((c.y, *self._metric(cells[c.y][i])))
        numbers.append((c.weight, *number(cells[c.weight][i], "weight")) if c.weight else ("", 1.0, ""))
        numbers += [(column, *number(cells[column][i], "x")) for column in c.beside.values()]
        self.numbers[i] = [value for _, value, _ in numbers]
        for column, _, reason in numbers:
            if reason:
                lost = column == c.y and outcome.lower() in gates.DIVERGED
                return column, f"{DIVERGED}: it {reason}" if lost else reason
        return "", ""

    def _metric(self, cell: Any) -> tuple[float, str]:
        value, wrong = number(cell, "y", zero=self.kind == "accuracy")
        if self.kind == "accuracy" and value == 1:
            wrong = "is an accuracy of 1, which leaves an error of 0, and that has no logarithm"
        return value, wrong

    def _repeats(self, i: int, seen: dict[Any, int]) -> tuple[str, str]:
        """A row that says again what an earlier one said: the whole row, or its run at that place."""
        c = self.columns
        whole = ("row", *(name(cells[i])[0] for cells in self.source.cells.values()))
        if whole in seen:
            return c.y, f"repeats row {seen[whole] + 1} in every column"
        seen[whole] = i
        if c.runs_named:
            place = ("run", self.who(i), *self.numbers[i][: len(c.x)])
            if place in seen:
                return c.run or c.config, f"repeats row {seen[place] + 1}: {self.who(i)} at the same place"
            seen[place] = i
        return "", ""
