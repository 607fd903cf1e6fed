"""Roll-out: how well laws fitted to small runs predict larger ones, stage by stage.

The points are ordered by one axis (model size, data or compute). Each stage fits all places up to one of them and
predicts those beyond, so that the last stage leaves only the largest out. A law that has seen the answer is never
judged on it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import BadInput
from pipeline.laws.ensemble import AVERAGED, SPARE, Ensemble, ensembles
from pipeline.laws.fit import Fit, columns, fit_many
from pipeline.laws.forms import Array, form_named
from pipeline.laws.points import distinct


@dataclass(frozen=True)
class Stage:
    """``up_to`` on the axis was fitted; ``error`` [k] = ln prediction - ln truth at ``at`` [k], on the axis."""

    up_to: float
    points: int
    at: Array
    error: Array

    @property
    def distance(self) -> Array:
        """How many times farther than the last place fitted, [k]."""
        return self.at / self.up_to


@dataclass(frozen=True)
class Rollout:
    """Stages from the fewest places to the most."""

    form: str
    stages: tuple[Stage, ...]

    @property
    def rmse(self) -> float:
        """Root mean square of ln prediction - ln truth, each point weighted by 1 / (1 + ln distance)."""
        error, distance = (np.concatenate([getattr(s, n) for s in self.stages]) for n in ("error", "distance"))
        weight = 1.0 / (1.0 + np.log(distance))
        return float(np.sqrt((weight * error**2).sum() / weight.sum()))

    @property
    def last(self) -> float:
        """The same of the last stage alone: only the largest place left out."""
        return float(np.sqrt(np.mean(self.stages[-1].error ** 2)))


def rollout(
    x: ArrayLike,
    y: ArrayLike,
    form: str = "ensemble",
    by: ArrayLike | None = None,
    stages: int = 4,
    forms: Sequence[str] = AVERAGED,
    delta: float | None = None,
) -> Rollout:
    """Roll out a form, or the ensemble of ``forms``, over x [n] or [n, d] and y [n].

    ``by`` [n] is the axis along which places are left out (for example compute N x D); without it the first column
    of x. At most ``stages`` stages, each with places enough for the form. Raises BadInput when there is none.
    """
    inputs = 1 if form == "ensemble" else len(form_named(form).inputs)
    xs, ys = columns(x, inputs), np.asarray(y, dtype=float)
    axis = xs[:, 0] if by is None else np.asarray(by, dtype=float)
    needed = min(form_named(f).size for f in forms) + SPARE if form == "ensemble" else form_named(form).size + 1
    cuts = [cut for cut in np.unique(axis)[:-1] if distinct(xs[axis <= cut]) >= needed][-stages:]
    if not cuts:
        raise BadInput(f"Nothing can be left out: {form} needs {needed} distinct places besides the largest.")
    sets = [(xs[axis <= cut], ys[axis <= cut]) for cut in cuts]
    laws: Sequence[Ensemble | Fit]
    if form == "ensemble":
        laws = ensembles([(a[:, 0], b) for a, b in sets], forms, delta=delta)
    else:
        laws = fit_many(sets, form, delta=delta)
    return Rollout(form, tuple(_stage(law, xs, ys, axis, cut) for law, cut in zip(laws, cuts, strict=True)))


def _stage(law: Ensemble | Fit, xs: Array, ys: Array, axis: Array, cut: float) -> Stage:
    beyond = axis > cut
    at = xs[beyond][:, 0] if isinstance(law, Ensemble) else xs[beyond]
    error = law.log(at) - np.log(ys[beyond])
    return Stage(float(cut), int((~beyond).sum()), axis[beyond], error)
