"""The law of one group of a table: the fit, its draws, intervals and predictions."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.laws import gates
from pipeline.laws.ensemble import ensemble
from pipeline.laws.fit import Fit, fit
from pipeline.laws.forms import Array, Form, form_named
from pipeline.laws.reach import Reach, reach
from pipeline.laws.tables.described import described, percentiles, predictions, tails
from pipeline.laws.tables.document import GroupLaw
from pipeline.laws.tables.heldout import held_out
from pipeline.laws.tables.points import Points, count, list_diverged, points_of
from pipeline.laws.tables.settings import ENSEMBLE, Settings
from pipeline.laws.tables.table import Table
from pipeline.laws.uncertainty.interval import intervals, parameter_intervals
from pipeline.laws.uncertainty.resample import resample
from pipeline.laws.uncertainty.sample import Sample

LEAST_WEIGHT = 0.01
"""A form that weighs less takes no part in a crossover."""
SCREEN = "power_floor"
"""The form about which diverged points are looked for where several are fitted."""


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
            out.append(reach(sample, at) if sample else None)
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
    points, law = points_of(data, mine), GroupLaw(group, settings.form, "refused")
    form = None if settings.form == ENSEMBLE else form_named(settings.form)
    if form:
        gates.enough(form, points.x, group)
    listed = list_diverged(data, mine, points, form or form_named(SCREEN), law)
    count(data, mine, points, law)
    sampled = _one(points, form, settings, law, grid) if form else _several(points, listed, settings, law, grid)
    if not settings.envelope:
        sound = points.only(~listed)
        law.held_out = held_out(sound.x, sound.y, sound.weights, data.columns.x, settings.form, settings.delta)
    if data.kind == "loss" and _rises(points):
        law.notes.append(
            f"{data.columns.y} rises with {data.columns.x[0]}, and laws fall: if higher is better, say --kind accuracy."
        )
    return law, sampled


def _one(points: Points, form: Form, settings: Settings, law: GroupLaw, grid: Array) -> Sampled:
    found = fit(points.x, points.y, form, points.weights, settings.delta, settings.over, settings.seed)
    sample = _sample(found, points, settings)
    drawn = resample(sample, **settings.resampling)
    level = settings.level
    spans = percentiles(found, drawn.theta, level) if settings.bootstrap else parameter_intervals(sample, level)
    law.forms, law.status = [described(found, 1.0, spans)], found.status
    asked = settings.places(len(form.inputs))
    at = asked if len(asked) else points.x[:1]
    ends = intervals(sample, at, level=level, **settings.resampling)
    law.noise, law.method = ends.noise, ends.method
    law.notes += ends.notes
    values = np.stack([ends.mean, ends.lo, ends.hi, ends.new_lo, ends.new_hi])[:, : len(asked)]
    law.predictions = predictions(asked, values, points.x, settings)
    choice = np.zeros(settings.draws, dtype=int)
    return Sampled((found,), np.ones(1), (drawn.theta,), choice, settings.top, grid, (sample.countable(),))


def _several(points: Points, listed: np.ndarray, settings: Settings, law: GroupLaw, grid: Array) -> Sampled:
    """The ensemble. What has diverged takes no part, for the evidence for a form counts every residual in full."""
    sound = points.only(~listed)
    mean = ensemble(sound.x[:, 0], sound.y, weights=sound.weights, delta=settings.delta, seed=settings.seed)
    choice = _choice(mean.weights, settings)
    draws, samples = [], [_sample(found, sound, settings) for found in mean.fits]
    for i, (found, weight) in enumerate(zip(mean.fits, mean.weights, strict=True)):
        drawn = resample(samples[i], **settings.resampling) if (choice == i).any() else None
        law.method = f"{drawn.method} bootstrap and choice of form" if drawn else law.method
        draws.append(drawn.theta if drawn else np.empty((0, found.form.size)))
        spans = percentiles(found, draws[-1], settings.level) if drawn else {}
        law.forms.append(described(found, float(weight), spans))
    heavy = mean.weights >= LEAST_WEIGHT
    countable = tuple(sample.countable() if h else None for sample, h in zip(samples, heavy, strict=True))
    sampled = Sampled(mean.fits, mean.weights, tuple(draws), choice, settings.top, grid, countable)
    law.left_out = dict(mean.left_out)
    heaviest = mean.fits[int(mean.weights.argmax())]
    law.status = heaviest.status
    law.noise = _noise(mean.weights @ np.stack([f.residuals for f in mean.fits]), heaviest.form.size)
    asked = settings.places(1)
    law.predictions = predictions(asked, _mixture(sampled.curves(asked), law.noise, settings), points.x, settings)
    return sampled


def _sample(found: Fit, points: Points, settings: Settings) -> Sample:
    return Sample.of(found, points.x, points.y, over=settings.over, **points.clusters())


def _choice(weights: Array, settings: Settings) -> np.ndarray:
    """The fit that each draw is of, [B], in proportion to the weights; groups draw alike."""
    random = np.random.Generator(np.random.Philox(key=[settings.seed, 5]))
    share = (random.permutation(settings.draws) + 0.5) / settings.draws
    return np.minimum(np.searchsorted(np.cumsum(weights), share), len(weights) - 1)


def _mixture(curves: Array, noise: float, settings: Settings) -> Array:
    """mean, lo, hi, new_lo, new_hi [5, k] from the law and its draws [1 + B, k]."""
    random = np.random.Generator(np.random.Philox(key=[settings.seed, 6]))
    new = curves[1:] + noise * random.standard_normal((len(curves) - 1, 1))
    lo, hi = np.quantile(curves[1:], tails(settings.level), axis=0)
    new_lo, new_hi = np.quantile(new, tails(settings.level), axis=0)
    mean = curves[0]
    ends = [
        np.minimum(lo, mean),
        np.maximum(hi, mean),
        np.minimum(new_lo, np.minimum(lo, mean)),
        np.maximum(new_hi, np.maximum(hi, mean)),
    ]
    return np.exp(np.clip(np.stack([mean, *ends]), -200.0, 200.0))


def _noise(residuals: Array, parameters: int) -> float:
    return float(np.sqrt((residuals**2).sum() / max(1, len(residuals) - parameters)))


def _rises(points: Points) -> bool:
    u, v = np.log(points.x[:, 0]), np.log(points.y)
    return bool(points.x.shape[1] == 1 and v.std() > 0 and np.corrcoef(u, v)[0, 1] > 0.3)
