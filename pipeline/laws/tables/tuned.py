"""Tuned: of a grid over one column (a learning rate, a model size at one compute) the best at each place counts.

A best value at the end of its grid says that the optimum may lie beyond, so that place says nothing of what the family
can do: it is refused, or dropped and listed.
"""

from dataclasses import replace

import numpy as np

from pipeline.errors import BadInput
from pipeline.laws import gates
from pipeline.laws.tables.cells import number
from pipeline.laws.tables.judged import Dropped
from pipeline.laws.tables.table import Table


def best_of_grid(data: Table, drop_bad: bool = False) -> Table:
    """The rows at the best value of the tuned column, by group and place; the mean of ln y over seeds decides.

    Raises BadInput for values that are no numbers, and for an optimum on the edge unless ``drop_bad``.
    """
    column = data.columns.tuned
    if not column:
        return data
    values = _values(data)
    place = [(group, *row) for group, row in zip(data.group.tolist(), data.x.tolist(), strict=True)]
    kept, dropped = np.zeros(len(place), dtype=bool), list(data.dropped)
    for key in dict.fromkeys(place):
        mine = np.array([p == key for p in place])
        grid = np.unique(values[mine])
        means = [np.log(data.falling[mine & (values == v)]).mean() for v in grid]
        at = ", ".join(f"{name} = {v:g}" for name, v in zip(data.columns.x, key[1:], strict=True))
        whose = f"of {key[0]} at" if key[0] else "at"
        try:
            best = grid[gates.bracketed(grid, means, f"the best {column} {whose} {at}")]
        except BadInput as error:
            if not drop_bad:
                raise
            dropped += [Dropped(int(row), column, str(error)) for row in data.rows[mine]]
            continue
        kept |= mine & (values == best)
        reason = f"is {{:g}}, and {best:g} is better at {at}"
        behind = mine & (values != best)
        dropped += [
            Dropped(int(r), column, reason.format(v)) for r, v in zip(data.rows[behind], values[behind], strict=True)
        ]
    if not kept.any():
        raise BadInput(f"{data.source} has no place where the best {column} lies inside its grid: widen the grids.")
    return _only(data, kept, tuple(dropped))


def _values(data: Table) -> np.ndarray:
    parsed = [number(text, "x", zero=True) for text in data.tuned.tolist()]
    for row, (_, wrong) in zip(data.rows, parsed, strict=True):
        if wrong:
            raise BadInput(f"{data.source}, row {row}, column {data.columns.tuned!r} {wrong}: a grid is of numbers.")
    return np.array([value for value, _ in parsed])


def _only(data: Table, kept: np.ndarray, dropped: tuple[Dropped, ...]) -> Table:
    names = ("rows", "x", "y", "weight", "group", "run", "config", "seed", "tuned", "diverged")
    beside = {role: values[kept] for role, values in data.beside.items()}
    return replace(data, dropped=dropped, beside=beside, **{name: getattr(data, name)[kept] for name in names})
