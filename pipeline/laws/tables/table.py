"""Table: the runs or checkpoints a law is fitted to, from any table, with every bad value named by row and column."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import BadInput, nearest
from pipeline.laws import gates
from pipeline.laws.forms import Array
from pipeline.laws.tables.cells import alike, name
from pipeline.laws.tables.columns import KINDS, Columns, kind_of
from pipeline.laws.tables.judged import Dropped, Judged
from pipeline.laws.tables.reading import Source, read


@dataclass(frozen=True)
class Table:
    """n points, in the order of the source."""

    source: str
    columns: Columns
    kind: str
    """One of KINDS."""
    rows: np.ndarray
    """Of the source; the first below the header is 1."""
    x: Array
    """[n, d]"""
    y: Array
    weight: Array
    group: np.ndarray
    run: np.ndarray
    """Points of one run share a name within their group: its own, or config and seed, else the row."""
    config: np.ndarray
    """Without a column of configurations, the place on the axis."""
    seed: np.ndarray
    tuned: np.ndarray
    """As text."""
    diverged: np.ndarray
    """Whether the outcome says so."""
    beside: dict[str, Array]
    """compute and budget, where the columns name them."""
    metric: str
    convention: str
    unit: str
    dropped: tuple[Dropped, ...]
    digest: str
    """sha256 of the rows used, in the columns used; the order of neither matters."""

    @property
    def falling(self) -> Array:
        """What is fitted: y, or the error 1 - y of an accuracy."""
        return 1.0 - self.y if self.kind == "accuracy" else self.y

    def described(self) -> dict[str, Any]:
        """For the document."""
        said = {"metric": self.metric, "kind": self.kind, "convention": self.convention, "unit": self.unit}
        return {
            "source": self.source,
            "sha256": self.digest,
            "rows_used": len(self.y),
            "rows_dropped": len(self.dropped),
            "columns": self.columns.named(),
            **{name: value for name, value in said.items() if value},
        }

    @property
    def groups(self) -> list[str]:
        return sorted(set(self.group.tolist()))


def table(
    source: Any,
    columns: Columns,
    kind: str = "",
    where: Mapping[str, str] | None = None,
    drop_bad: bool = False,
) -> Table:
    """Read and judge ``source``: a frame, a mapping of arrays, a path, or "-".

    ``where`` keeps the rows whose columns hold these values. ``kind`` is one of KINDS; by default the name of the
    metric says it. Raises BadInput for bad cells, repeated runs and unfinished ones, unless ``drop_bad``, which lists
    them as dropped; and for what that cannot mend: mixed metrics, conventions or units, one place only.
    """
    found = read(source)
    if kind and kind not in KINDS:
        raise BadInput(f"There is no kind of metric {kind!r}: {nearest(kind, KINDS)}")
    columns.check(found, where or {})
    rows = _rows(found, where or {})
    metric = name(found.cells[columns.metric][rows[0]])[0] if columns.metric else columns.y
    judged = Judged(found, columns, kind or kind_of(metric))
    judged.judge(rows)
    if not drop_bad:
        judged.refuse()
    if not judged.kept:
        first = judged.dropped[0]
        raise BadInput(f"{found.name} has no row left to fit; row {first.row}, column {first.column!r} {first.reason}.")
    return _table(judged)


def _rows(found: Source, where: Mapping[str, str]) -> list[int]:
    rows = list(range(found.rows))
    for column, value in where.items():
        left = [i for i in rows if alike(found.cells[column][i], value)]
        if not left:
            there = nearest(value, {name(found.cells[column][i])[0] for i in rows[:10_000]})
            raise BadInput(f"{found.name} has no row where {column} is {value}: {there}")
        rows = left
    return rows


def _table(judged: Judged) -> Table:
    c, kept, source = judged.columns, judged.kept, judged.source
    values = np.array([judged.numbers[i] for i in kept])
    d = len(c.x)
    x, y, weight = values[:, :d], values[:, d], values[:, d + 1]
    beside = {role: values[:, d + 2 + i] for i, role in enumerate(c.beside)}
    metric, convention, unit = (_single(judged, *each) for each in SINGLE)
    if judged.kind != "loss":
        gates.one_scale(y.tolist(), [f"{source.name}, row {i + 1}" for i in kept], c.y)
    gates.one_axis(x, c.x, source.name)
    for role, column in c.beside.items():
        gates.one_axis(beside[role][:, None], (column,), source.name)
    texts = {role: np.array([each[i] for i in kept]) for role, each in judged.texts.items()}
    none = np.full(len(kept), "")
    place = np.array([", ".join(f"{v:g}" for v in row) for row in x])
    outcome = np.array([v.lower() in gates.DIVERGED for v in texts.get("outcome", none).tolist()])
    return Table(
        source.name,
        c,
        judged.kind,
        np.array(kept) + 1,
        x,
        y,
        weight,
        texts.get("group", none),
        np.array([judged.run(i) for i in kept]),
        texts.get("config", place),
        texts.get("seed", none),
        texts.get("tuned", none),
        outcome,
        beside,
        metric or c.y,
        convention,
        unit,
        tuple(judged.dropped),
        _digest(judged),
    )


SINGLE = (
    ("metric", "metrics", "a law is of one"),
    ("convention", "FLOPs conventions", "laws on different compute axes do not compare"),
    ("unit", "units", "numbers in different units do not compare"),
)


def _single(judged: Judged, role: str, noun: str, why: str) -> str:
    column = getattr(judged.columns, role)
    values = [name(judged.source.cells[column][i])[0] for i in judged.kept] if column else []
    return gates.of_one_kind(values, noun, why)


def _digest(judged: Judged) -> str:
    c = judged.columns
    numeric = {column: j for j, column in enumerate([*c.x, c.y, c.weight, *c.beside.values()])}
    order: Sequence[str] = sorted(set(c.named().values()))
    lines = []
    for i in judged.kept:
        row = judged.numbers[i]
        texts = (repr(row[numeric[k]]) if k in numeric else name(judged.source.cells[k][i])[0] for k in order)
        lines.append(json.dumps(list(texts)))
    return hashlib.sha256("\n".join([json.dumps(order), *sorted(lines)]).encode()).hexdigest()
