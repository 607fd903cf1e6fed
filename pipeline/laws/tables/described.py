"""Described: fits and predictions in the words of a document."""

from collections.abc import Sequence

import numpy as np

from pipeline.laws.fit import Fit
from pipeline.laws.forms import Array
from pipeline.laws.tables.document import FormFit, Prediction, finite
from pipeline.laws.tables.settings import Settings


def described(found: Fit, weight: float, spans: dict[str, tuple[float, float]]) -> FormFit:
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


def percentiles(found: Fit, theta: Array, level: float) -> dict[str, tuple[float, float]]:
    """Percentile interval of each natural parameter."""
    ends = np.quantile(found.form.natural(theta, found.centre, found.offset), tails(level), axis=0).T
    return {name: (float(lo), float(hi)) for name, (lo, hi) in zip(found.form.parameters, ends, strict=True)}


def predictions(at: Array, values: Array, x: Array, settings: Settings) -> list[Prediction]:
    """``values`` [5, k] of what was fitted, turned into y."""
    values = np.minimum(values, settings.top)
    if settings.kind == "accuracy":
        values = 1.0 - values[[0, 2, 1, 4, 3]]
    distance = np.maximum(1.0, np.maximum(at / x.max(0), x.min(0) / at)).max(1)
    rows = zip(at.tolist(), values.T.tolist(), distance.tolist(), strict=True)
    return [Prediction(place, *ends, distance=far) for place, ends, far in rows]


def tails(level: float) -> Sequence[float]:
    return (1 - level) / 2, (1 + level) / 2
