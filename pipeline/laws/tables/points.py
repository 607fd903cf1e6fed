"""Points: those of one group of a table as they are fitted, and which of them have diverged."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.laws.diverged import diverged
from pipeline.laws.forms import Array, Form
from pipeline.laws.points import distinct
from pipeline.laws.tables.document import GroupLaw, Listed
from pipeline.laws.tables.table import Table


@dataclass(frozen=True)
class Points:
    """Those of one group, as they are fitted; ``runs`` and ``configs`` where the table names them."""

    x: Array
    y: Array
    weights: Array
    runs: np.ndarray | None
    configs: np.ndarray | None

    def only(self, which: np.ndarray) -> "Points":
        runs, configs = (None if names is None else names[which] for names in (self.runs, self.configs))
        return Points(self.x[which], self.y[which], self.weights[which], runs, configs)

    def clusters(self) -> dict[str, Any]:
        """What resampling and intervals ask besides x and y."""
        names = {"runs": self.runs, "configs": self.configs}
        return {"weights": self.weights} | {k: None if v is None else v.tolist() for k, v in names.items()}


def points_of(data: Table, mine: np.ndarray) -> Points:
    runs = data.run[mine] if data.columns.runs_named else None
    configs = data.config[mine] if data.columns.config else None
    return Points(data.x[mine], data.falling[mine], data.weight[mine], runs, configs)


def count(data: Table, mine: np.ndarray, points: Points, law: GroupLaw) -> None:
    """Write into ``law`` what it rests on."""
    law.points, law.places, law.runs = len(points.y), distinct(points.x), len(set(data.run[mine].tolist()))
    law.x_min, law.x_max = points.x.min(0).tolist(), points.x.max(0).tolist()


def list_diverged(data: Table, mine: np.ndarray, points: Points, form: Form, law: GroupLaw) -> np.ndarray:
    """Which points have diverged; they are put on the law's list and weighted down in ``points``."""
    told = data.diverged[mine]
    if distinct(points.x) <= form.size:
        return told
    found = diverged(points.x, points.y, form, told)
    points.weights[:] *= found.weights
    for i in np.flatnonzero(found.listed):
        own = np.flatnonzero(mine)[i]
        why = "by its outcome" if told[i] else f"more than {np.expm1(found.limit):.0%} above its surroundings"
        law.diverged.append(
            Listed(
                int(data.rows[own]),
                str(data.run[own]),
                points.x[i].tolist(),
                float(data.y[own]),
                float(found.excess[i]),
                float(found.weights[i]),
                why,
            )
        )
    return found.listed
