"""Shared law: one form fitted to all groups of a table at once, some of its parameters in common."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.errors import BadInput
from pipeline.laws import gates
from pipeline.laws.fit import Fit
from pipeline.laws.forms import Array, Form, form_named
from pipeline.laws.groups import GroupFit, fit_groups
from pipeline.laws.pair import Together
from pipeline.laws.points import distinct
from pipeline.laws.tables.described import described, percentiles, predictions
from pipeline.laws.tables.document import GroupLaw
from pipeline.laws.tables.points import Points, count, list_diverged, points_of
from pipeline.laws.tables.settings import Settings
from pipeline.laws.tables.table import Table
from pipeline.laws.uncertainty.interval import Intervals, intervals, parameter_intervals
from pipeline.laws.uncertainty.resample import resample
from pipeline.laws.uncertainty.sample import Sample

UNLIKELY = 0.05
"""The p below which the points are said to speak against sharing."""


@dataclass(frozen=True)
class SharedFit:
    found: GroupFit
    free: GroupFit | None
    """With nothing shared; None where a group has too few places for that."""
    points: Points
    """Of all groups; the last column of x is the group. Runs and configurations of two groups are never the same."""
    settings: Settings

    @cached_property
    def sample(self) -> Sample:
        points = self.points
        return Sample.of(self.found.joint, points.x, points.y, over=self.settings.over, **points.clusters())

    def pair(self, a: str, b: str) -> Together:
        return Together(self.found, self.sample, a, b)

    def spans(self) -> dict[str, dict[str, tuple[float, float]]]:
        """Group -> parameter -> interval."""
        level, groups = self.settings.level, self.found.groups
        if self.settings.bootstrap:
            theta = resample(self.sample, **self.settings.resampling).theta
            each = [self.found.form.of(theta, i) for i in range(len(groups))]
            return {g: percentiles(self.found.of(g), t, level) for g, t in zip(groups, each, strict=True)}
        ends = parameter_intervals(self.sample, level)
        names = self.found.form.form.parameters
        return {g: {name: ends.get(name) or ends[f"{name}[{g}]"] for name in names} for g in groups}

    def intervals(self, group: str, asked: Array) -> Intervals:
        """``asked`` [k, d]"""
        at = self.found.placed(group, asked)
        return intervals(self.sample, at, level=self.settings.level, **self.settings.resampling)

    def against(self) -> str:
        """What the points say against sharing, by an F test on the means of configurations that are at one place."""
        from scipy.special import fdtrc

        if not self.free or not self.sample.clusters.single:
            return ""
        more = self.free.form.size - self.found.form.size
        left = max(1, self.sample.clusters.count - self.free.form.size)
        shared, free = (_scatter(self.sample, self.found.joint, fit.joint) for fit in (self.found, self.free))
        p = float(fdtrc(more, left, max(0.0, shared - free) / more / max(free / left, 1e-300)))
        if p >= UNLIKELY:
            return ""
        names, chance = ", ".join(self.settings.share), f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"
        return f"The points speak against sharing {names} ({chance}, F test): fit the groups apart or share less."


def shared_laws(data: Table, settings: Settings) -> tuple[list[GroupLaw], SharedFit]:
    """A law for each group, those with too few places refused, and the fit of the others.

    Raises BadInput where fewer than two groups can be fitted, and for parameters that cannot be shared.
    """
    form, laws, parts = form_named(settings.form), [], {}
    for group in data.groups:
        mine = data.group == group
        points, law = points_of(data, mine), GroupLaw(group, settings.form, "refused")
        laws.append(law)
        if few := _too_few(form, settings, group, distinct(points.x), bool(data.diverged[mine].any())):
            law.notes.append(few)
            continue
        list_diverged(data, mine, points, form, law)
        count(data, mine, points, law)
        parts[group] = points
    if len(parts) < 2:
        why = next((law.notes[0] for law in laws if law.notes), "name the column of groups with --group.")
        raise BadInput(f"Parameters are shared between two groups or more, and here are {len(parts)}: {why}")
    shared = _fit(parts, form, settings)
    spans = shared.spans()
    for law in laws:
        if law.group in parts:
            _write(law, parts[law.group], shared, spans[law.group])
    return laws, shared


def _fit(parts: dict[str, Points], form: Form, settings: Settings) -> SharedFit:
    groups = sorted(parts)
    names = [group for group in groups for _ in parts[group].y]
    x, y, weights = (np.concatenate([getattr(parts[g], of) for g in groups]) for of in ("x", "y", "weights"))
    runs, configs = (_apart([(g, getattr(parts[g], of)) for g in groups]) for of in ("runs", "configs"))
    how = (weights, settings.delta, settings.over, settings.seed)
    found, free = fit_groups(x, y, names, form, settings.share, *how), None
    if all(distinct(points.x) > form.size for points in parts.values()):
        free = fit_groups(x, y, names, form, (), *how)
    placed = np.concatenate([found.placed(group, parts[group].x) for group in groups])
    return SharedFit(found, free, Points(placed, y, weights, runs, configs), settings)


def _apart(named: Sequence[tuple[str, np.ndarray | None]]) -> np.ndarray | None:
    """Names with the group before each, so that those of two groups differ."""
    given = [(group, names) for group, names in named if names is not None]
    return np.array([f"{group}/{name}" for group, names in given for name in names]) if given else None


def _write(law: GroupLaw, points: Points, shared: SharedFit, spans: dict[str, tuple[float, float]]) -> None:
    asked = shared.settings.places(points.x.shape[1])
    ends = shared.intervals(law.group, asked if len(asked) else points.x[:1])
    fit = shared.found.of(law.group)
    law.forms, law.status, law.noise, law.method = [described(fit, 1.0, spans)], fit.status, ends.noise, ends.method
    law.notes += ends.notes
    values = np.stack([ends.mean, ends.lo, ends.hi, ends.new_lo, ends.new_hi])[:, : len(asked)]
    law.predictions = predictions(asked, values, points.x, shared.settings)


def _scatter(sample: Sample, fitted: Fit, other: Fit) -> float:
    """Sum of the squared mean residuals of configurations about ``other``, each as heavy as its points."""
    places = np.exp(sample.u + fitted.centre)
    residual = sample.v[0] + fitted.offset - other.log(places)
    weight = np.bincount(sample.clusters.config, sample.w)
    return float((np.bincount(sample.clusters.config, sample.w * residual) ** 2 / weight).sum())


def _too_few(form: Form, settings: Settings, group: str, places: int, spoilt: bool) -> str:
    """Diverged runs are judged about a law of the group alone, which needs places for all its parameters."""
    own = form.size - len(settings.share)
    if spoilt and places <= form.size:
        return (
            f"{group} has diverged runs and {places} distinct places, too few to weigh them: leave such runs out, or "
            "measure more places."
        )
    if places >= own + gates.SPARE:
        return ""
    return (
        f"{form.name} with {own} parameters of its own needs {own + gates.SPARE} distinct places, and {group} has "
        f"{places}: share more parameters or measure more places."
    )
