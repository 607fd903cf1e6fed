"""The law of one group of a table: the fit, its draws, intervals and predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.laws import gates
from pipeline.laws.diverged import diverged
from pipeline.laws.ensemble import ensemble
from pipeline.laws.fit import Fit, fit
from pipeline.laws.forms import Array, Form, form_named
from pipeline.laws.points import distinct
from pipeline.laws.reach import Reach, reach
from pipeline.laws.tables.document import FormFit, GroupLaw, Listed, Prediction, finite
from pipeline.laws.tables.heldout import held_out
from pipeline.laws.tables.settings import ENSEMBLE, Settings
from pipeline.laws.tables.table import Table
from pipeline.laws.uncertainty.interval import intervals, parameter_intervals
from pipeline.laws.uncertainty.resample import Resample, resample
from pipeline.laws.uncertainty.sample import Sample

LEAST_WEIGHT = 0.01
"""A form that weighs less takes no part in a crossover."""
SCREEN = "power_floor"
"""The form about which diverged points are looked for where several are fitted."""


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


@dataclass(frozen=True)
class Sampled:
    """Fits with their weights and draws: what predictions and crossings are taken from."""

    fits: tuple[Fit, ...]
    weights: Array
    draws: tuple[Array, ...]
    """theta [B, p_f] of each fit; draw b goes with draw b of another group."""
    choice: np.ndarray
    """Which of the fits draw b is of, [B]: each as often as it weighs."""
    top: float
    grid: Array
    """ln x at which profiles are followed, [g]."""
    samples: tuple[Sample | None, ...]
    """Each fit with its points; None of one that weighs too little to matter."""

    def middle(self, x: Array) -> Array:
        """ln y of the law at x [n]."""
        return self.curves(x)[0]

    def mixture(self, x: Array) -> list[tuple[float, Reach]]:
        """Weight and reach of each fit at x [n]."""
        profiles = [
            (weight, found, known)
            for weight, found, known in zip(self.weights, self.fits, self._profiles, strict=True)
            if known
        ]
        total = sum(weight for weight, *_ in profiles)
        return [
            (float(weight / total), known.along(self.grid, np.log(x), found.log(x)[None]))
            for weight, found, known in profiles
        ]

    @cached_property
    def _profiles(self) -> list[Reach | None]:
        out: list[Reach | None] = []
        for found, sample in zip(self.fits, self.samples, strict=True):
            at = self.grid[:, None] - found.centre
            out.append(reach(sample, at, found.offset) if sample else None)
        return out

    def curves(self, x: Array) -> Array:
        """ln y of the law and of its draws at x [n] or [n, d]: [1 + B, n]."""
        out = np.empty((1 + len(self.choice), len(x)))
        out[0] = self.weights @ np.stack([found.log(x) for found in self.fits])
        for i, (found, theta) in enumerate(zip(self.fits, self.draws, strict=True)):
            mine = self.choice == i
            if mine.any():
                out[1:][mine] = found.log(x, theta[mine])
        return np.minimum(out, np.log(self.top))


def group_law(data: Table, group: str, settings: Settings, grid: Array) -> tuple[GroupLaw, Sampled]:
    """``grid``: ln x at which the law may be compared with others. Raises BadInput for one that cannot be fitted."""
    mine = data.group == group
    points, law = _points(data, mine), GroupLaw(group, settings.form, "refused")
    form = None if settings.form == ENSEMBLE else form_named(settings.form)
    if form:
        gates.enough(form, points.x, group)
    listed = _list(data, mine, points, form or form_named(SCREEN), law)
    law.points, law.places, law.runs = len(points.y), distinct(points.x), len(set(data.run[mine].tolist()))
    law.x_min, law.x_max = points.x.min(0).tolist(), points.x.max(0).tolist()
    sampled = _one(points, form, settings, law, grid) if form else _several(points, listed, settings, law, grid)
    if not settings.envelope:
        sound = points.only(~listed)
        law.held_out = held_out(sound.x, sound.y, sound.weights, data.columns.x, settings.form, settings.delta)
    if data.kind == "loss" and _rises(points):
        law.notes.append(
            f"{data.columns.y} rises with {data.columns.x[0]}, and laws fall: if higher is better, say --kind accuracy."
        )
    return law, sampled


def _points(data: Table, mine: np.ndarray) -> Points:
    runs = data.run[mine] if data.columns.runs_named else None
    configs = data.config[mine] if data.columns.config else None
    return Points(data.x[mine], data.falling[mine], data.weight[mine], runs, configs)


def _list(data: Table, mine: np.ndarray, points: Points, form: Form, law: GroupLaw) -> np.ndarray:
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


def _one(points: Points, form: Form, settings: Settings, law: GroupLaw, grid: Array) -> Sampled:
    x, y, over, level = points.x, points.y, settings.over, settings.level
    found = fit(x, y, form, points.weights, settings.delta, over, settings.seed)
    drawn = _draws(found, points, settings)
    if settings.bootstrap:
        spans = _spans(found, drawn.theta, level)
    else:
        spans = parameter_intervals(found, x, y, level=level, over=over, **points.clusters())
    law.forms, law.status = [_described(found, 1.0, spans)], found.status
    asked = settings.places(len(form.inputs))
    how = {"method": settings.bootstrap or "auto", "draws": settings.draws, "seed": settings.seed}
    at = asked if len(asked) else x[:1]
    ends = intervals(found, x, y, at, level=level, over=over, **how, **points.clusters())
    law.noise, law.method = ends.noise, ends.method
    law.notes += ends.notes
    values = np.stack([ends.mean, ends.lo, ends.hi, ends.new_lo, ends.new_hi])[:, : len(asked)]
    law.predictions = _predictions(asked, values, x, settings)
    choice = np.zeros(settings.draws, dtype=int)
    samples = (_sample(found, points, settings),)
    return Sampled((found,), np.ones(1), (drawn.theta,), choice, settings.top, grid, samples)


def _several(points: Points, listed: np.ndarray, settings: Settings, law: GroupLaw, grid: Array) -> Sampled:
    """The ensemble. What has diverged takes no part, for the evidence for a form counts every residual in full."""
    sound = points.only(~listed)
    mean = ensemble(sound.x[:, 0], sound.y, weights=sound.weights, delta=settings.delta, seed=settings.seed)
    choice = _choice(mean.weights, settings)
    draws = []
    for i, (found, weight) in enumerate(zip(mean.fits, mean.weights, strict=True)):
        drawn = _draws(found, sound, settings) if (choice == i).any() else None
        law.method = f"{drawn.method} bootstrap and choice of form" if drawn else law.method
        draws.append(drawn.theta if drawn else np.empty((0, found.form.size)))
        law.forms.append(_described(found, float(weight), _spans(found, draws[-1], settings.level) if drawn else {}))
    heavy = mean.weights >= LEAST_WEIGHT
    samples = tuple(_sample(f, sound, settings) if h else None for f, h in zip(mean.fits, heavy, strict=True))
    sampled = Sampled(mean.fits, mean.weights, tuple(draws), choice, settings.top, grid, samples)
    law.left_out = dict(mean.left_out)
    heaviest = mean.fits[int(mean.weights.argmax())]
    law.status = heaviest.status
    law.noise = _noise(mean.weights @ np.stack([f.residuals for f in mean.fits]), heaviest.form.size)
    asked = settings.places(1)
    law.predictions = _predictions(asked, _mixture(sampled.curves(asked), law.noise, settings), points.x, settings)
    return sampled


def _sample(found: Fit, points: Points, settings: Settings) -> Sample:
    """One configuration alone cannot be counted: its points then stand for runs."""
    sample = Sample.of(found, points.x, points.y, over=settings.over, **points.clusters())
    return sample if sample.clusters.count > 1 else sample.apart()


def _draws(found: Fit, points: Points, settings: Settings) -> Resample:
    how = {"method": settings.bootstrap or "auto", "draws": settings.draws, "seed": settings.seed}
    return resample(found, points.x, points.y, over=settings.over, **how, **points.clusters())


def _spans(found: Fit, theta: Array, level: float) -> dict[str, tuple[float, float]]:
    """Percentile interval of each natural parameter."""
    ends = np.quantile(found.form.natural(theta, found.centre, found.offset), _tails(level), axis=0).T
    return {name: (float(lo), float(hi)) for name, (lo, hi) in zip(found.form.parameters, ends, strict=True)}


def _choice(weights: Array, settings: Settings) -> np.ndarray:
    """The fit that each draw is of, [B], in proportion to the weights; groups draw alike."""
    random = np.random.Generator(np.random.Philox(key=[settings.seed, 5]))
    share = (random.permutation(settings.draws) + 0.5) / settings.draws
    return np.minimum(np.searchsorted(np.cumsum(weights), share), len(weights) - 1)


def _mixture(curves: Array, noise: float, settings: Settings) -> Array:
    """mean, lo, hi, new_lo, new_hi [5, k] from the law and its draws [1 + B, k]."""
    random = np.random.Generator(np.random.Philox(key=[settings.seed, 6]))
    new = curves[1:] + noise * random.standard_normal((len(curves) - 1, 1))
    lo, hi = np.quantile(curves[1:], _tails(settings.level), axis=0)
    new_lo, new_hi = np.quantile(new, _tails(settings.level), axis=0)
    mean = curves[0]
    ends = [
        np.minimum(lo, mean),
        np.maximum(hi, mean),
        np.minimum(new_lo, np.minimum(lo, mean)),
        np.maximum(new_hi, np.maximum(hi, mean)),
    ]
    return np.exp(np.clip(np.stack([mean, *ends]), -200.0, 200.0))


def _predictions(at: Array, values: Array, x: Array, settings: Settings) -> list[Prediction]:
    """``values`` [5, k] of what was fitted, turned into y."""
    values = np.minimum(values, settings.top)
    if settings.kind == "accuracy":
        values = 1.0 - values[[0, 2, 1, 4, 3]]
    distance = np.maximum(1.0, np.maximum(at / x.max(0), x.min(0) / at)).max(1)
    rows = zip(at.tolist(), values.T.tolist(), distance.tolist(), strict=True)
    return [Prediction(place, *ends, distance=far) for place, ends, far in rows]


def _described(found: Fit, weight: float, spans: dict[str, tuple[float, float]]) -> FormFit:
    form = found.form
    return FormFit(
        form.name,
        form.latex,
        weight,
        {name: finite(value) for name, value in found.params.items()},
        {name: (finite(lo), finite(hi)) for name, (lo, hi) in spans.items()},
        dict(zip(form.parameters, form.units, strict=True)),
        found.status,
        finite(found.condition),
        found.delta,
        found.starts,
        found.agree,
        found.objective,
    )


def _noise(residuals: Array, parameters: int) -> float:
    return float(np.sqrt((residuals**2).sum() / max(1, len(residuals) - parameters)))


def _rises(points: Points) -> bool:
    u, v = np.log(points.x[:, 0]), np.log(points.y)
    return bool(points.x.shape[1] == 1 and v.std() > 0 and np.corrcoef(u, v)[0, 1] > 0.3)


def _tails(level: float) -> Sequence[float]:
    return (1 - level) / 2, (1 + level) / 2
