"""The document of isoFLOP profiles: how compute is best split between model size and samples, by group.

Numbers are in the units of the table; an interval is {value, lo, hi}.
"""

from dataclasses import dataclass, field
from typing import Any

from pipeline.laws.isoflops.allocation import Interval
from pipeline.laws.tables.document import Header


@dataclass(frozen=True)
class Vertex:
    """The lowest point of a polynomial in ln N through one budget; the usual way, for comparison."""

    size: float | None
    check: str
    """bracketed | outside the sizes | no minimum | too few sizes"""


@dataclass(frozen=True)
class Budget:
    flops: float
    runs: int
    sizes: int
    refused: str
    """Why it has no optimum of its own, in words."""
    size: Interval | None
    samples: Interval | None
    y: Interval | None
    cubic: Vertex
    parabola: Vertex


@dataclass(frozen=True)
class Route:
    """N* = factor (C / at)^exponent, and D* alike where samples are known."""

    exponents: dict[str, Interval]
    """By size and samples."""
    at: float
    factors: dict[str, Interval]
    budgets: int
    """That the law goes through; 0 where the surface stands alone."""
    about: dict[str, Any]
    """What it rests on: of the valley its rates, noise and tests; of the surface its form, parameters and status."""


@dataclass(frozen=True)
class Verdict:
    """Of the test that both routes tell the same optimum."""

    agree: bool
    p: float
    exponent: Interval
    """First less second."""
    size: Interval
    """Ratio of N* at ``at``."""
    at: float
    sentence: str


@dataclass(frozen=True)
class Best:
    """The best split at one compute by one route."""

    flops: float
    route: str
    """isoflop | surface"""
    size: Interval
    samples: Interval | None
    y: Interval | None
    distance: float
    """Factor beyond the range of FLOPs that the route rests on; 1 inside."""


@dataclass(frozen=True)
class Aside:
    """A run that is listed and counts little, and why."""

    row: int
    run: str
    flops: float
    size: float
    y: float
    why: str


@dataclass(frozen=True)
class Hull:
    """Rows that no run beats with less compute, and those of them on the lower hull in logarithms."""

    rows: list[int]
    hull: list[int]
    corners: list[tuple[float, float]]
    """FLOPs and y along the hull; between two of them it is a power law."""


@dataclass
class GroupSplit:
    group: str
    status: str = "refused"
    """both routes | isoFLOP only | surface only | refused"""
    runs: int = 0
    flops_min: float = 0.0
    flops_max: float = 0.0
    size_min: float = 0.0
    size_max: float = 0.0
    budgets: list[Budget] = field(default_factory=list)
    isoflop: Route | None = None
    surface: Route | None = None
    agreement: Verdict | None = None
    pareto: Hull | None = None
    aside: list[Aside] = field(default_factory=list)
    """Runs listed and weighted down."""
    predictions: list[Best] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Why a route or a budget has no answer, a reason each."""
    notes: list[str] = field(default_factory=list)


@dataclass
class IsoDocument(Header):
    groups: list[GroupSplit] = field(default_factory=list)
