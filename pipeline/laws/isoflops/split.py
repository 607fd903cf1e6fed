"""Split: how compute is best split between model size and samples in one group of a table, by both routes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import BadInput
from pipeline.laws.forms import Array
from pipeline.laws.isoflops.allocation import Agreement, Allocation, Interval, Share
from pipeline.laws.isoflops.budget import Turn
from pipeline.laws.isoflops.isodocument import Aside, Best, Budget, GroupSplit, Hull, Route, Verdict, Vertex
from pipeline.laws.isoflops.isoflop import IsoFLOP, Optimum, isoflop
from pipeline.laws.isoflops.pareto import pareto
from pipeline.laws.isoflops.surface import Lowest, alone, surface
from pipeline.laws.tables.document import finite
from pipeline.laws.tables.settings import Settings
from pipeline.laws.tables.table import Table

NO_SAMPLES = "surface: it needs the samples of each run, a second column of --x"
CURVE = 2
"""Degree in ln N of the FLOPs of a sample."""
STRAYS = 0.1
STATUS = {(True, True): "both routes", (True, False): "isoFLOP only", (False, True): "surface only"}


@dataclass(frozen=True)
class Runs:
    """Those of one group; ``samples`` and ``budget`` where the table has them."""

    size: Array
    samples: Array | None
    flops: Array
    budget: Array | None
    loss: Array
    """Lower is better: the error of an accuracy."""
    told: np.ndarray
    """Whether a run has diverged by its outcome."""

    @classmethod
    def of(cls, data: Table, mine: np.ndarray) -> "Runs":
        """FLOPs are 6 N D where no column holds them."""
        x = data.x[mine]
        size, samples = x[:, 0], x[:, 1] if x.shape[1] == 2 else None
        beside = {role: values[mine] for role, values in data.beside.items()}
        flops = beside["compute"] if "compute" in beside else 6.0 * x.prod(1)
        return cls(size, samples, flops, beside.get("budget"), data.falling[mine], data.diverged[mine])


def split(data: Table, group: str, settings: Settings) -> GroupSplit:
    """Whatever can be said of a group; ``refused`` says why the rest cannot."""
    mine = data.group == group
    runs, kind = Runs.of(data, mine), data.kind
    flops, size = ([float(end(v)) for end in (np.min, np.max)] for v in (runs.flops, runs.size))
    found = GroupSplit(group, "refused", len(runs.loss), flops[0], flops[1], size[0], size[1])
    found.pareto = _hull(data, mine, runs)
    found.notes += _strays(runs)
    first = _profiles(runs, settings, found, kind)
    if first:
        listed = first.outliers
        second = _compared(first, runs, settings, found, kind)
    else:
        second, listed = _alone(runs, settings, found, kind)
    found.aside = [_aside(data, mine, runs, i) for i in sorted({*listed, *np.flatnonzero(runs.told).tolist()})]
    found.status = STATUS.get((first is not None, second), "refused")
    return found


def _strays(runs: Runs) -> list[str]:
    """A note where the FLOPs of a sample are no smooth function of model size, by which D* follows from N*."""
    if runs.samples is None or len(runs.size) <= CURVE + 1 or not np.ptp(np.log(runs.size)):
        return []
    n, each = np.log(runs.size), np.log(runs.flops / runs.samples)
    u = (n - n.mean()) / n.std()
    design = np.vander(u, CURVE + 1)
    rest = each - design @ np.linalg.lstsq(design, each, rcond=None)[0]
    share = float(np.expm1(rest.std()))
    if share < STRAYS:
        return []
    return [
        f"The FLOPs of a sample stray by {share:.0%} from a function of model size, and so does D*; --x is model size "
        "first, then samples."
    ]


def _profiles(runs: Runs, settings: Settings, found: GroupSplit, kind: str) -> IsoFLOP | None:
    how = {"draws": settings.draws, "seed": settings.seed, "level": settings.level}
    try:
        first = isoflop(runs.size, runs.flops, runs.loss, runs.samples, budget=runs.budget, known=runs.told, **how)
    except BadInput as error:
        found.refused.append(f"isoFLOP profiles: {_reason(error)}")
        return None
    found.budgets = [_budget(b, kind) for b in first.budgets]
    found.refused += first.refused
    found.notes += [first.bend] if first.bend else []
    if settings.predict and first.allocation.loss is None:
        found.notes.append("The profiles tell no loss ahead: a law of it needs four budgets.")
    kept = [b.flops for b in first.budgets if not b.refused]
    about = {name: getattr(first, name) for name in ("rates", "noise", "dof", "line_p", "compared")}
    found.isoflop = _route(first.allocation, len(kept), about)
    found.predictions += _best("isoflop", first.allocation.at, kept, settings.predict, kind)
    return first


def _compared(first: IsoFLOP, runs: Runs, settings: Settings, found: GroupSplit, kind: str) -> bool:
    """The second route from the same runs, and whether it agrees."""
    if runs.samples is None:
        found.refused.append(NO_SAMPLES)
        return False
    try:
        second = surface(first, runs.size, runs.samples, runs.loss, settings.form)
    except BadInput as error:
        found.refused.append(f"surface: {_reason(error)}")
        return False
    kept = sum(not b.refused for b in first.budgets)
    _add_surface(second, kept, settings, found, kind)
    found.agreement = _verdict(second.agreement, settings.level)
    return True


def _alone(runs: Runs, settings: Settings, found: GroupSplit, kind: str) -> tuple[bool, list[int]]:
    """The second route by itself, and the runs it sets aside."""
    if runs.samples is None:
        found.refused.append(NO_SAMPLES)
        return False, []
    how = {"draws": settings.draws, "seed": settings.seed, "level": settings.level}
    try:
        second = alone(runs.size, runs.samples, runs.flops, runs.loss, settings.form, runs.told, **how)
    except BadInput as error:
        found.refused.append(f"surface: {_reason(error)}")
        return False, []
    _add_surface(second, 0, settings, found, kind)
    return True, second.outliers


def _add_surface(law: Lowest, budgets: int, settings: Settings, found: GroupSplit, kind: str) -> None:
    about = {
        "form": law.fit.form.name,
        "latex": law.fit.form.latex,
        "params": {name: finite(value) for name, value in law.fit.params.items()},
        "status": law.fit.status,
        "condition": finite(law.fit.condition),
        "delta": law.fit.delta,
    }
    ends = (found.flops_min, found.flops_max)
    found.surface = _route(law.allocation, budgets, about)
    found.predictions += _best("surface", law.at, ends, settings.predict, kind)
    if law.fit.status != "converged":
        found.notes.append(
            f"The surface {law.fit.form.name} is {law.fit.status}: read its optimum, not its parameters."
        )
    sizes = {c: law.allocation.size(c).value for c in ends}
    outside = [c for c, size in sizes.items() if not found.size_min <= size <= found.size_max]
    if outside:
        found.notes.append(
            f"At {outside[0]:.3g} FLOPs the surface puts the best model size at {sizes[outside[0]]:.3g}, past those "
            f"run ({found.size_min:.3g} to {found.size_max:.3g}): that is extrapolation."
        )


def _route(best: Allocation, budgets: int, about: dict[str, object]) -> Route:
    laws = {name: law for name, law in (("size", best.size), ("samples", best.samples)) if law}
    exponents, factors = ({n: getattr(law, what) for n, law in laws.items()} for what in ("exponent", "factor"))
    return Route(exponents, best.size.at, factors, budgets, about)


def _best(
    route: str, at: Callable[[float], Share], kept: Sequence[float], places: Sequence[float], kind: str
) -> list[Best]:
    low, high = min(kept), max(kept)
    found = []
    for c in places:
        share, distance = at(c), max(1.0, c / high, low / c)
        y = in_units(share.loss, kind) if share.loss else None
        found.append(Best(c, route, share.size, share.samples, y, distance))
    return found


def _budget(b: Optimum, kind: str) -> Budget:
    y = in_units(b.loss, kind) if b.loss else None
    return Budget(b.flops, b.runs, b.sizes, b.refused, b.size, b.samples, y, _vertex(b.cubic), _vertex(b.parabola))


def _vertex(found: Turn) -> Vertex:
    return Vertex(None if found.n is None else finite(float(np.exp(np.clip(found.n, -700, 700)))), found.check)


def _verdict(found: Agreement, level: float) -> Verdict:
    ratio = Interval(*(float(np.exp(np.clip(v, -700, 700))) for v in (found.size.value, found.size.lo, found.size.hi)))
    return Verdict(found.p >= 1 - level, found.p, found.exponent, ratio, found.at, found.sentence)


def _hull(data: Table, mine: np.ndarray, runs: Runs) -> Hull | None:
    """Of the runs that have not diverged."""
    sound = np.flatnonzero(~runs.told)
    if not len(sound):
        return None
    found = pareto(runs.flops[sound], runs.loss[sound])
    rows = data.rows[mine][sound]
    corners = [(float(c), float(in_units(Interval(v, v, v), data.kind).value)) for c, v in np.exp(found.knots)]
    return Hull(rows[found.rows].tolist(), rows[found.hull].tolist(), corners)


def _aside(data: Table, mine: np.ndarray, runs: Runs, i: int) -> Aside:
    own = int(np.flatnonzero(mine)[i])
    why = "diverged by its outcome" if runs.told[i] else "far off what the others near it say"
    return Aside(
        int(data.rows[own]), str(data.run[own]), float(runs.flops[i]), float(runs.size[i]), float(data.y[own]), why
    )


def in_units(fitted: Interval, kind: str) -> Interval:
    """What was fitted in the units of y: of an accuracy its error was."""
    if kind != "accuracy":
        return fitted
    return Interval(1.0 - fitted.value, 1.0 - fitted.hi, 1.0 - fitted.lo)


def _reason(error: BadInput) -> str:
    said = str(error).rstrip(".")
    return said[0].lower() + said[1:]
