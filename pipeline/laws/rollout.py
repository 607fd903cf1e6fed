"""Roll-out: how well laws fitted to small runs predict larger ones, stage by stage.

The points are ordered by one axis (model size, data or compute). Each stage fits all places up to one of them and
predicts those beyond, so that the last stage leaves only the largest out and the first about the upper half, in ln x. A
law that has seen the answer is never judged on it.
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

LEAST = 3
"""Places on the axis of a stage: two tell no exponent and floor, however many places the other inputs have."""
WILD = 200.0
"""In ln y: an error that is larger, or no number, counts as this."""


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
    weights: ArrayLike | None = None,
) -> Rollout:
    """Roll out a form, or the ensemble of ``forms``, over x [n] or [n, d] and y [n].

    ``by`` [n] is the axis along which places are left out (for example compute N x D); without it the first column
    of x. At most ``stages`` stages, each with places enough for the form. ``weights`` [n] are those of the fits. Raises
    BadInput when there is no stage.
    """
    inputs = 1 if form == "ensemble" else len(form_named(form).inputs)
    xs, ys = columns(x, inputs), np.asarray(y, dtype=float)
    axis = xs[:, 0] if by is None else np.asarray(by, dtype=float)
    weight = np.ones_like(ys) if weights is None else np.asarray(weights, dtype=float)
    needed = min(form_named(f).size for f in forms) + SPARE if form == "ensemble" else form_named(form).size + 1
    parts = _parts(xs, axis, needed, stages)
    if not parts:
        raise BadInput(f"Nothing can be left out: {form} needs {needed} distinct places besides the largest.")
    sets, counted = [(xs[part], ys[part]) for part in parts], [weight[part] for part in parts]
    laws: Sequence[Ensemble | Fit]
    if form == "ensemble":
        laws = ensembles([(a[:, 0], b) for a, b in sets], forms, counted, delta)
    else:
        laws = fit_many(sets, form, counted, delta)
    return Rollout(form, tuple(_stage(law, xs, ys, axis, part) for law, part in zip(laws, parts, strict=True)))


def _parts(xs: Array, axis: Array, needed: int, stages: int) -> list[np.ndarray]:
    """The points that each stage is fitted to: cut even in ln x, from the middle of the axis to the last place."""
    found, place = np.unique(np.round(np.log(axis), 9), return_inverse=True)
    places = np.asarray(found, dtype=float)
    cuts = [cut for cut in range(LEAST - 1, len(places) - 1) if distinct(xs[place <= cut]) >= needed]
    if len(cuts) > stages:
        logs = places[cuts]
        first = min(max(logs[0], 0.5 * (places[0] + places[-1])), logs[-stages])
        nearest = {int(np.abs(logs - at).argmin()) for at in np.linspace(first, logs[-1], stages)}
        cuts = [cuts[i] for i in sorted(nearest)]
    return [place <= cut for cut in cuts]


def _stage(law: Ensemble | Fit, xs: Array, ys: Array, axis: Array, fitted: np.ndarray) -> Stage:
    at = xs[~fitted][:, 0] if isinstance(law, Ensemble) else xs[~fitted]
    error = np.nan_to_num(law.log(at) - np.log(ys[~fitted]), nan=WILD)
    return Stage(float(axis[fitted].max()), int(fitted.sum()), axis[~fitted], np.clip(error, -WILD, WILD))
