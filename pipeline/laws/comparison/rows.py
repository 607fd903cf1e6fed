"""Rows: from the flat records of a study to points on the two axes, with everything left out named and explained."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import BadInput, nearest
from pipeline.laws.comparison.matched import COLUMNS, Comparison, comparisons
from pipeline.laws.points import Point

Row = Mapping[str, Any]
_NOT_METRICS = {"params", "samples", "budget", "epochs", "seed", "lr", "train_flops", "forward_flops", "device_seconds"}


@dataclass
class Selection:
    """Points of each axis (``Point.excluded`` says which are only listed) and the conventions they share."""

    points: dict[str, list[Point]]
    conventions: dict[str, str] = field(default_factory=dict)
    """Answers for the checklist: C, D."""
    missing: list[str] = field(default_factory=list)
    """What the study lacks, in sentences."""
    matched: list[Comparison] = field(default_factory=list)
    """Pairs of families held equal in size or compute."""


def points_from_rows(rows: Sequence[Row], metric: str) -> Selection:
    """Compute axis: pre-training rows on the largest subset, x = training FLOPs. Data axis: x = unique samples.

    On the data axis an arch counts at the largest budget at which it was run on several sizes; where the budget
    follows the size (equal epochs), at the largest budget of each size. Diverged and failed rows are listed as
    excluded. Raises BadInput for rows of several upstream data sets or FLOPs conventions, or without the metric.
    """
    runs = [row for row in rows if row.get("kind", "pretrain") == "pretrain"]
    if not runs:
        said = "No pre-training run is recorded" + (", only transfers." if rows else " yet.")
        return Selection({axis: [] for axis in COLUMNS}, missing=[said])
    convention = _single(runs, "flops_convention", "FLOPs conventions", "laws on different compute axes do not compare")
    _single(runs, "dataset", "upstream data sets", "errors on different data do not compare")
    _known_metric(runs, metric)
    largest = max((_number(row.get("samples")) for row in runs), default=0.0)
    compute = [row for row in runs if _number(row.get("samples")) == largest]
    data, rule = _data_rows(runs)
    chosen = {"compute": compute, "data": data}
    points = {axis: [_point(row, COLUMNS[axis], metric) for row in chosen[axis]] for axis in COLUMNS}
    missing = []
    if len({p.x for p in points["data"]}) < 2:
        points["data"] = []
        missing.append("The study has one data size only, so nothing can be said about data.")
    if len({p.x for p in points["compute"]}) < 2:
        missing.append("The study has one compute budget only at its largest data size.")
    conventions = {
        "C": f"training FLOPs, on {largest:,.0f} images: {convention or 'convention not recorded'}",
        "D": f"unique training samples, {rule}",
    }
    matched = comparisons(runs, chosen, lambda row, axis: _point(row, COLUMNS[axis], metric))
    return Selection(points, conventions, missing, matched)


def _data_rows(runs: list[Row]) -> tuple[list[Row], str]:
    """Rows of the data axis and the rule that chose them."""
    sizes: dict[tuple[Any, Any], set[Any]] = {}
    for row in runs:
        sizes.setdefault((row.get("arch"), row.get("budget")), set()).add(row.get("samples"))
    best: dict[Any, float] = {}
    for (arch, budget), found in sizes.items():
        if len(found) > 1:
            best[arch] = max(best.get(arch, 0.0), _number(budget))
    if best:
        chosen = [row for row in runs if _number(row.get("budget")) == best.get(row.get("arch"))]
        return chosen, "at the largest budget (samples seen) at which an arch was run on several sizes"
    top: dict[tuple[Any, Any], float] = {}
    for row in runs:
        key = (row.get("arch"), row.get("samples"))
        top[key] = max(top.get(key, 0.0), _number(row.get("budget")))
    chosen = [row for row in runs if _number(row.get("budget")) == top[row.get("arch"), row.get("samples")]]
    return chosen, "at the largest budget of each size (the budget follows the size)"


def _point(row: Row, column: str, metric: str) -> Point:
    outcome, reason = str(row.get("outcome", "done")), str(row.get("reason") or "").strip()
    excluded, value = "", row.get(metric)
    if outcome != "done":
        excluded = f"{outcome}: {reason or 'no reason recorded'}"
    elif not isinstance(value, int | float) or isinstance(value, bool):
        excluded = f"it has no {metric}"
    return Point(
        family=str(row.get("family") or "unnamed family"),
        arch=str(row.get("arch") or ""),
        seed=int(_number(row.get("seed"))),
        x=_number(row.get(column)),
        y=math.nan if excluded else float(value or 0),
        run=str(row.get("digest", "")),
        setting=str(row.get("setting") or ""),
        excluded=excluded,
    )


def _single(runs: list[Row], column: str, noun: str, why: str) -> str:
    """The one value of a column. Raises BadInput for several; absent is one value of its own."""
    counts: dict[str, int] = {}
    for row in runs:
        value = str(row.get(column) or "")
        counts[value] = counts.get(value, 0) + 1
    if len(counts) > 1:
        shown = "; ".join(f"{name or 'not recorded'} ({count} rows)" for name, count in sorted(counts.items()))
        raise BadInput(f"The rows mix {len(counts)} {noun}, and {why}: {shown}. Fit them apart.")
    return next(iter(counts))


def _known_metric(runs: list[Row], metric: str) -> None:
    done = [row for row in runs if row.get("outcome", "done") == "done"]
    if done and all(row.get(metric) is None for row in done):
        numeric = {k for row in done for k, v in row.items() if isinstance(v, float) and k not in _NOT_METRICS}
        raise BadInput(f"No finished run has the metric {metric!r}: {nearest(metric, numeric)}")


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else 0.0
