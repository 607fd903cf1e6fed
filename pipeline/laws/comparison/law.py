"""Law: the curve of one family on one axis, with interval, band, held-out error, and what was left out and why."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from pipeline.laws import wording
from pipeline.laws.comparison.bootstrap import DRAWS, Draws, bootstrap
from pipeline.laws.comparison.frontier import frontier
from pipeline.laws.comparison.measured import Measured, measured
from pipeline.laws.comparison.noise import Noise, measure
from pipeline.laws.comparison.shifts import spread_of
from pipeline.laws.fit import Fit, fit, shortage
from pipeline.laws.forms import FORMS, Array, Form
from pipeline.laws.gates import SPARE
from pipeline.laws.multiplier import NEARER
from pipeline.laws.points import Cell, Point, cells_of, screen
from pipeline.laws.posterior import HORIZON
from pipeline.laws.reach import PROFILED, Reach, reach
from pipeline.laws.uncertainty.sample import Sample

LEVEL = 0.9
GRID = 60
BEYOND = 3.0
"""The band is drawn this factor past the last point, so that the reader sees how fast it widens."""
FURTHEST = 200.0
"""In ln y. Draws that say more than this past the last point are shown as this."""
BEHIND = "behind the family's best architecture at that place"


@dataclass
class Law:
    """``params`` in natural units (y = E + A x^-alpha with x in FLOPs or samples). Empty when status is refused."""

    family: str
    axis: str
    metric: str
    form: str
    params: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    level: float
    status: str
    """converged | at a bound | not identified | refused"""
    n_points: int
    """Places on the frontier, each the mean of its seeds."""
    n_runs: int
    band: dict[str, list[float]] = field(default_factory=dict)
    holdout: dict[str, float | bool] | None = None
    excluded: list[dict[str, str]] = field(default_factory=list)
    x_min: float | None = None
    x_max: float | None = None
    """The last place fitted; the band past it is extrapolation."""
    delta: float | None = None
    starts: int = 0
    condition: float | None = None
    noise: float | None = None
    """Standard deviation of ln y of one run about the law."""
    n_seeds: int = 0
    """The most runs at one place."""
    notes: list[str] = field(default_factory=list)
    """Sentences a reader of this law should know."""


@dataclass(frozen=True)
class Fitted:
    """A law's fit and its draws: what further questions need. Kept in memory only."""

    fit: Fit
    draws: Draws
    noise: Noise
    cells: tuple[Cell, ...]
    """On the frontier, ordered by x: what was fitted."""
    furthest: float = 1.0
    """x of the last point of any family on the axis."""

    def curves(self, x: Array) -> Array:
        """ln y of every draw at x [n]: [B, n]."""
        return self.fit.log(x, self.draws.theta)

    def middle(self, x: Array) -> Array:
        return self.fit.log(x)

    def mixture(self, x: Array) -> tuple[tuple[float, Reach]]:
        """How far the law can bend at x [n], by the scatter of its points, of seeds and of whole runs."""
        grid, known = self._profile
        return ((1.0, known.along(grid, np.log(x), self.fit.log(x)[None])),)

    @cached_property
    def _profile(self) -> tuple[Array, Reach]:
        """ln x [k], as far as anything is asked, and the reach there."""
        found, seeds = self.fit, np.array([float(len(c.runs)) for c in self.cells])
        x, y, archs = zip(*((c.x, np.exp(c.value), c.arch) for c in self.cells), strict=True)
        sample = Sample.of(found, x, y, archs, weights=seeds)
        grid = np.linspace(np.log(x[0] / NEARER), np.log(max(x[-1], self.furthest) * HORIZON), PROFILED)
        at = grid[:, None] - found.centre
        known = spread_of(sample, found.form.log(sample.theta, at)[1], self.noise, sample.w * seeds.mean())
        return grid, reach(sample, at, known)


@dataclass(frozen=True)
class Family:
    """What is known of one family on one axis."""

    law: Law
    fitted: Fitted | None = None
    """None when the law was refused; its notes say why."""
    measured: Measured | None = None
    """None without repeated seeds."""


def make_law(
    family: str,
    axis: str,
    metric: str,
    points: Iterable[Point],
    form: str = "",
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
    furthest: float = 1.0,
) -> Family:
    """The law of one family on one axis.

    Without ``form``: a power law with floor where there are places enough, else a power law, else it is refused. The
    band reaches to ``BEYOND`` times the last point or to ``furthest``, whichever is further.
    """
    usable, excluded = screen(points)
    left_out = [{"run": p.run, "reason": p.excluded} for p in excluded]
    law = Law(family, axis, metric, "", {}, {}, level, "refused", 0, 0, excluded=left_out)
    cells = cells_of(usable)
    if not cells:
        law.notes = [f"{wording.family(family)} has no usable point on {wording.AXIS.get(axis, axis)}."]
        return Family(law)
    edge = frontier(cells)
    kept = edge.kept(np.array([[c.value for c in cells]]))[0]
    on = [c for c, k in zip(cells, kept, strict=True) if k]
    law.n_points, law.n_runs = len(on), sum(len(c.runs) for c in on)
    law.n_seeds = max(len(c.runs) for c in cells)
    law.excluded += [{"run": r, "reason": BEHIND} for c, k in zip(cells, kept, strict=True) if not k for r in c.runs]
    law.x_min, law.x_max = on[0].x, on[-1].x
    key = f"{axis}/{family}"
    chosen, short = choose([c.x for c in on for _ in c.runs], form)
    residuals = np.zeros(len(cells))
    if chosen is None:
        law.notes = [f"{wording.family(family)} has no law on {wording.AXIS.get(axis, axis)}: {short}."]
        noise = measure(cells, residuals, np.zeros(len(cells), dtype=bool), 0)
        return Family(law, None, measured(edge, noise, draws, seed, key))
    found = _fit(on, chosen.name)
    residuals[kept] = found.residuals
    noise = measure(cells, residuals, kept, chosen.size)
    drawn = bootstrap(found, edge, kept, noise, draws, seed, key)
    _describe(law, found, noise, drawn, form, furthest)
    law.holdout, held_note = hold_out(on, chosen.name, law, draws, seed)
    law.notes += [held_note] if held_note else []
    return Family(law, Fitted(found, drawn, noise, tuple(on), furthest), measured(edge, noise, draws, seed, key))


def choose(x: list[float], form: str = "") -> tuple[Form | None, str]:
    """The form that runs at these places can carry, or None and why."""
    names = [form] if form else ["power_floor", "power"]
    short = ""
    for name in names:
        needed = FORMS[name].size + SPARE
        short = shortage(FORMS[name], x)
        if not short and len(x) < needed:
            short = f"a law with {FORMS[name].size} parameters needs {needed} runs, and there are {len(x)}"
        if not short:
            return FORMS[name], ""
    return None, short


def hold_out(on: list[Cell], form: str, law: Law, draws: int, seed: int) -> tuple[dict[str, float | bool] | None, str]:
    """Fit without the cells at the largest x and predict them; ``inside`` refers to the interval for a new mean."""
    top = max(c.x for c in on)
    rest = [c for c in on if np.log(top / c.x) > 1e-6]
    held = [c for c in on if np.log(top / c.x) <= 1e-6]
    short = shortage(FORMS[form], [c.x for c in rest]) if rest else "no other point is left"
    if short:
        return None, f"No point could be held out: without the largest, {short}."
    found, edge = _fit(rest, form), frontier(rest)
    every = np.ones(len(rest), dtype=bool)
    noise = measure(rest, found.residuals, every, FORMS[form].size)
    drawn = bootstrap(found, edge, every, noise, draws, seed, f"holdout/{law.axis}/{law.family}")
    runs = sum(len(c.runs) for c in held)
    observed = sum(c.value * len(c.runs) for c in held) / runs
    at = np.array([top])
    random = np.random.Generator(np.random.Philox(key=[seed, 1]))
    new = found.log(at, drawn.theta)[:, 0] + noise.point / np.sqrt(runs) * random.standard_normal(draws)
    lo, hi = np.quantile(new, _tails(law.level))
    error = float(found.log(at)[0] - observed)
    return {
        "x": top,
        "predicted": _value(error + observed),
        "observed": _value(observed),
        "log_error": error,
        "relative_error": float(np.expm1(min(error, FURTHEST))),
        "lo": _value(lo),
        "hi": _value(hi),
        "inside": bool(lo - 1e-9 <= observed <= hi + 1e-9),
        "distance": float(top / max(c.x for c in rest)),
    }, ""


def _fit(cells: list[Cell], form: str) -> Fit:
    runs = [float(len(c.runs)) for c in cells]
    return fit([c.x for c in cells], np.exp([c.value for c in cells]), form, runs)


def _describe(law: Law, found: Fit, noise: Noise, drawn: Draws, asked: str, furthest: float) -> None:
    law.form, law.params, law.status = found.form.name, found.params, found.status
    ends = np.quantile(found.form.natural(drawn.theta, found.centre, found.offset), _tails(law.level), axis=0)
    names = found.form.parameters
    law.intervals = {n: (float(ends[0, i]), float(ends[1, i])) for i, n in enumerate(names)}
    law.delta, law.starts, law.noise = found.delta, found.starts, noise.point
    law.condition = found.condition if np.isfinite(found.condition) else None
    first, last = law.x_min or 1.0, law.x_max or 1.0
    x = np.geomspace(first, max(last * BEYOND, furthest), GRID)
    lo, hi = np.quantile(found.log(x, drawn.theta), _tails(law.level), axis=0)
    mid = found.log(x)
    curves = {"lo": np.minimum(lo, mid), "mid": mid, "hi": np.maximum(hi, mid)}
    law.band = {
        "x": x.tolist(),
        **{name: np.exp(np.clip(curve, -FURTHEST, FURTHEST)).tolist() for name, curve in curves.items()},
    }
    if _vague(found, drawn):
        law.status = "not identified"
    law.notes += _notes(law, found, noise, drawn, asked)


def _vague(found: Fit, drawn: Draws) -> bool:
    """Whether the exponent may be almost anything: its interval fills half of what the form allows."""
    low, high = found.form.bounds[-1]
    lo, hi = np.quantile(drawn.theta[:, -1], (0.05, 0.95))
    return bool(hi - lo > 0.5 * (high - low))


def _notes(law: Law, found: Fit, noise: Noise, drawn: Draws, asked: str) -> list[str]:
    name, notes = wording.family(law.family), []
    if found.form.name == "power" and not asked:
        notes.append(
            f"With {wording.counted(law.n_points, 'place')} a floor cannot be told, so the law is a plain power law."
        )
    if law.status == "not identified":
        notes.append(f"The parameters of the {name} law cannot be told apart: read its curve, not its exponent.")
    elif found.form.name == "power_floor" and found.params["E"] == 0:
        notes.append(f"{name} shows no floor in this range.")
    if law.n_seeds == 1:
        notes.append(
            "One seed only: the interval rests on the scatter about the law and leaves out shifts of whole runs."
        )
    if noise.misfit:
        notes.append(f"{name} scatters about its law more than its seeds explain: the form does not fit exactly.")
    if drawn.replaced > 0.05 * len(drawn.theta):
        notes.append(f"In {wording.counted(drawn.replaced, 'draw')} the frontier had too few places and was kept.")
    return notes


def _value(log: float) -> float:
    return float(np.exp(np.clip(log, -FURTHEST, FURTHEST)))


def _tails(level: float) -> tuple[float, float]:
    return (1 - level) / 2, (1 + level) / 2
