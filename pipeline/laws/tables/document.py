"""Document: what a fit of a table found, as one strict JSON: enough to judge it and to make it again."""

import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline import __version__

FORMAT = 1


@dataclass(frozen=True)
class FormFit:
    """One form with its numbers. Parameters are natural; an interval with an infinite end has None there."""

    form: str
    latex: str
    weight: float
    """In the average; 1 for a form by itself."""
    params: dict[str, float | None]
    intervals: dict[str, tuple[float | None, float | None]]
    units: dict[str, str]
    status: str
    """converged | at a bound | not identified"""
    condition: float | None
    delta: float
    """Of Huber's loss, in ln y."""
    starts: int
    agree: int
    """Starts that were followed and ended within 0.1 % of the best."""
    objective: float


@dataclass(frozen=True)
class Listed:
    """A point that has diverged: ``excess`` in ln y above the law and its surroundings."""

    row: int
    run: str
    x: list[float]
    y: float
    excess: float
    weight: float
    why: str


@dataclass(frozen=True)
class Prediction:
    """Mean curve and a new run at x, in the units of y."""

    x: list[float]
    mean: float
    lo: float
    hi: float
    new_lo: float
    new_hi: float
    distance: float
    """Extrapolation: factor beyond the range fitted; 1 inside. Of several inputs, the largest."""


@dataclass(frozen=True)
class HeldOut:
    """How well the same form, fitted to the smaller runs only, predicts the larger ones."""

    by: str
    """The input along which the largest are left out, or the product of model size and samples: compute."""
    last: float
    """Root mean square of ln prediction - ln truth with only the largest place left out."""
    rmse: float
    """Of all stages, each point weighted by 1 / (1 + ln distance)."""
    stages: list[dict[str, float]]
    """``up_to`` was fitted with so many ``points``; ``error`` (root mean square) and ``bias`` (mean, above 0 where the
    law says too much) of those beyond, the farthest ``distance`` times as far."""


@dataclass
class GroupLaw:
    group: str
    form: str
    status: str
    """Of the form; of an ensemble, of its heaviest form. refused: ``notes`` say why."""
    points: int = 0
    places: int = 0
    runs: int = 0
    x_min: list[float] = field(default_factory=list)
    x_max: list[float] = field(default_factory=list)
    noise: float | None = None
    """Standard deviation of ln y of one run about the law."""
    method: str = ""
    """Of the intervals."""
    forms: list[FormFit] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    """Forms of the ensemble that were not fitted, and why."""
    diverged: list[Listed] = field(default_factory=list)
    """Points listed and weighted down."""
    predictions: list[Prediction] = field(default_factory=list)
    held_out: list[HeldOut] = field(default_factory=list)
    """By every input and by compute, where the places are enough."""
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Passing:
    """Where ``a`` passes ``b`` to stay ahead to the end of the range measured, or else beyond it.

    lo and hi are None where that end is not bounded by the data.
    """

    a: str
    b: str
    answer: str
    """crosses | none (one leads all along) | cannot tell"""
    x: float | None
    lo: float | None
    hi: float | None
    level: float
    probability_in_range: float
    probability_ever: float
    """Within the range searched, extrapolation included."""
    leads: dict[str, float]
    """Probability that each leads all along the range both were measured in."""
    measured: tuple[float, float]
    search: tuple[float, float]
    sentence: str
    ratio: float | None = None
    """x of ``a`` over x of ``b`` at equal y ``ratio_at``, the best that both reach in their own range."""
    ratio_lo: float | None = None
    ratio_hi: float | None = None
    ratio_at: float | None = None
    quantiles: dict[str, float | None] = field(default_factory=dict)
    """Posterior: share -> x by which a has passed b with that probability; None where the data do not bound it."""


@dataclass
class Header:
    """What every document of a table says: of which rows it is, how they were fitted, which were not."""

    data: dict[str, Any]
    settings: dict[str, Any]
    dropped: list[dict[str, Any]] = field(default_factory=list)
    """Rows that were not fitted, with the column and the reason."""
    notes: list[str] = field(default_factory=list)
    version: str = __version__
    format: int = FORMAT

    def to_json(self) -> str:
        """Strict JSON (no NaN, no infinity)."""
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False, indent=1)


@dataclass
class Document(Header):
    """Laws and crossovers."""

    groups: list[GroupLaw] = field(default_factory=list)
    crossings: list[Passing] = field(default_factory=list)


def finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
