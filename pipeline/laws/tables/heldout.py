"""Held out: how far the law of a group, fitted without its largest runs, misses them; by every input and by compute."""

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import BadInput
from pipeline.laws.forms import FORMS, Array
from pipeline.laws.rollout import Rollout, Stage, rollout
from pipeline.laws.tables.document import HeldOut

SIZE, SEEN = "N", ("T", "D")
"""Inputs of forms whose product is compute but for a factor: model size, and samples seen."""


def held_out(
    x: Array, y: Array, weights: Array, names: tuple[str, ...], form: str, delta: float | None
) -> list[HeldOut]:
    """``names`` of the columns of x [n, d]. An axis with too few places for any stage is not in the list."""
    found = []
    for by, axis in _axes(x, names, form).items():
        try:
            found.append(_told(by, rollout(x, y, form, axis, delta=delta, weights=weights)))
        except BadInput:  # too few places
            continue
    return found


def _axes(x: Array, names: tuple[str, ...], form: str) -> dict[str, ArrayLike]:
    inputs = FORMS[form].inputs if form in FORMS else ("x",)
    if inputs == ("loss",):
        return {}  # its larger values are the smaller runs
    axes: dict[str, ArrayLike] = dict(zip(names, x.T, strict=True))
    seen = next((name for name in SEEN if name in inputs), None)
    if SIZE in inputs and seen:
        size, samples = inputs.index(SIZE), inputs.index(seen)
        axes[f"{names[size]} x {names[samples]}"] = x[:, size] * x[:, samples]
    return axes


def _told(by: str, found: Rollout) -> HeldOut:
    return HeldOut(by, found.last, found.rmse, [_stage(stage) for stage in found.stages])


def _stage(stage: Stage) -> dict[str, float]:
    return {
        "up_to": stage.up_to,
        "points": stage.points,
        "distance": float(stage.distance.max()),
        "error": float(np.sqrt(np.mean(stage.error**2))),
        "bias": float(np.mean(stage.error)),
    }
