"""IsoFLOP: the model size and the data a budget is best spent on, from profiles at fixed compute.

The valleys of all budgets are fitted at once with ln N* on a line in ln C (``valley``). Intervals are
from a parametric bootstrap with the Student correction for few degrees of freedom: every draw is a new set of losses
about the fit, fitted anew. Budgets whose optimum lies on the edge of their sizes are refused and listed.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import BadInput
from pipeline.laws import wording
from pipeline.laws.diverged import LITTLE, diverged
from pipeline.laws.fit import shortage
from pipeline.laws.forms import Array, form_named
from pipeline.laws.isoflops.allocation import LEVEL, Allocation, Cost, Interval, allocation
from pipeline.laws.isoflops.budget import Profile, Turn, columns, profiles, refusal, turn
from pipeline.laws.isoflops.joint import MISFIT, Joint, grid_of
from pipeline.laws.isoflops.valley import HALF, robust

DRAWS = 1000
LEAST_BUDGETS = 3
SHOWN = 5
"""Refused budgets that one sentence names."""


@dataclass(frozen=True)
class Optimum:
    """Of one budget: that of its own valley, not of the law through all; None where refused."""

    flops: float
    runs: int
    sizes: int
    refused: str
    size: Interval | None
    samples: Interval | None
    loss: Interval | None
    cubic: Turn
    parabola: Turn


@dataclass(frozen=True)
class IsoFLOP:
    budgets: list[Optimum]
    allocation: Allocation
    rates: tuple[float, float]
    """How steep the two sides of the valleys are: al and be of a loss E + A N^-al + B D^-be."""
    noise: float
    """Standard deviation of a run's ln loss about its valley."""
    dof: int
    line_p: float
    """Of the F test that the budgets' own optima lie on one power law."""
    compared: dict[str, Interval]
    """Exponent of N* by each budget's own parabola or cubic and a straight line through them."""
    outliers: list[int]
    """Rows that lie far off their valley and weigh less than half for it."""
    weights: Array = field(repr=False)
    """Of every row given: next to nothing where a run has diverged, less than half where it is an outlier."""
    used: list[int]
    """Rows of the budgets kept."""
    noise_draws: Array = field(repr=False)
    """What each draw adds to ln loss of the rows used [B, R]: another route with the same noise is paired with this."""
    cost: Cost | None
    """Training FLOPs of a sample by size."""
    level: float

    def to_json(self) -> str:
        """Strict JSON (no NaN, no infinity): the answer, what it rests on, and every budget."""
        split, c = self.allocation, [b.flops for b in self.budgets if not b.refused]
        laws = {"size": split.size, "samples": split.samples}
        plain = {
            "sentences": self.sentences,
            "level": self.level,
            "exponents": {name: asdict(law.exponent) for name, law in laws.items() if law},
            "at": split.size.at,
            "factors": {name: asdict(law.factor) for name, law in laws.items() if law},
            "loss": [{"flops": x, **asdict(split.loss(x))} for x in c] if split.loss else None,
            "compared": {name: asdict(interval) for name, interval in self.compared.items()},
            **{name: getattr(self, name) for name in ("rates", "noise", "dof", "line_p", "outliers")},
            "budgets": [asdict(b) for b in self.budgets],
        }
        return json.dumps(plain, allow_nan=False, sort_keys=True, indent=1)

    @property
    def refused(self) -> list[str]:
        return [b.refused for b in self.budgets if b.refused]

    @property
    def answer(self) -> str:
        """The exponents, in a sentence."""
        size, samples = self.allocation.size.exponent, self.allocation.samples
        kept = [b.flops for b in self.budgets if not b.refused]
        said = (
            f"From {wording.stretch('compute', kept[0], kept[-1])} ({len(kept)} budgets) the best model size grows as "
            f"C^{size.value:.3f} ({wording.level(self.level)} interval {size.lo:.3f} to {size.hi:.3f})"
        )
        if samples:
            b = samples.exponent
            said += f", and the samples to train it on as C^{b.value:.3f} ({b.lo:.3f} to {b.hi:.3f})"
        return f"{said}."

    @property
    def bend(self) -> str:
        """A sentence where the optima are not on one power law, or nothing."""
        if self.line_p >= MISFIT:
            return ""
        return f"The optima do not lie on one power law (p = {self.line_p:.2g}); intervals are widened for it."

    @property
    def sentences(self) -> list[str]:
        """The answer, then what to know about it."""
        told = [self.answer]
        if self.refused:
            told.append(f"Refused: {_listed(self.refused)}.")
        if self.bend:
            told.append(self.bend)
        if self.outliers:
            rows = wording.listed([str(r) for r in self.outliers])
            told.append(f"Given less weight, for they lie far off their profile: rows {rows}.")
        return told


def isoflop(
    size: ArrayLike,
    flops: ArrayLike | None,
    loss: ArrayLike,
    samples: ArrayLike | None = None,
    flops_per_sample: ArrayLike | None = None,
    budget: ArrayLike | None = None,
    known: ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> IsoFLOP:
    """One value a run, in arrays or columns of a DataFrame: model size, measured training FLOPs, loss, samples seen.

    ``flops`` may be None where samples and the FLOPs of a sample are given; D* needs one of those two. ``budget`` names
    the nominal FLOPs of each run where runs of one budget lie more than 20 % apart; ``known`` says which runs have
    diverged by their own account. Raises BadInput for values that are not finite and positive, and for fewer than three
    budgets with an optimum inside their sizes, saying of each why.
    """
    if draws < 20 or not 0 < level < 1:
        raise BadInput(f"An interval needs 20 draws or more and a level between 0 and 1, not {draws} and {level:g}.")
    if not 0 <= seed < 2**63:
        raise BadInput(f"A seed is a whole number from 0 up, not {seed}.")
    given = columns(
        size=size, flops=flops, loss=loss, samples=samples, flops_per_sample=flops_per_sample, budget=budget
    )
    flops_of, cost = _costed(given)
    weights = _weights(given, flops_of, known)
    found = profiles(given["size"], flops_of, given["loss"], given.get("budget"), weights)
    reasons = _refusals(found)
    joint = Joint([p for p, reason in zip(found, reasons, strict=True) if not reason], draws, seed)
    own = joint.own_optima()
    weights[joint.rows] = joint.grid.w[joint.grid.w > 0]
    return IsoFLOP(
        [_optimum(p, reason, own.get(p.flops), cost, level) for p, reason in zip(found, reasons, strict=True)],
        allocation(joint.c, *joint.law_optima(), cost, level),
        (float(np.exp(joint.law.theta[0, 0])), float(np.exp(joint.law.theta[0, 1]))),
        joint.noise,
        joint.dof,
        joint.line_p,
        _compared(joint.profiles, level),
        np.flatnonzero(weights < HALF).tolist(),
        weights,
        joint.rows.tolist(),
        joint.noise_draws[:, joint.grid.w > 0],
        cost,
        level,
    )


def _costed(given: dict[str, Array]) -> tuple[Array, Cost | None]:
    """FLOPs of each run, and the FLOPs of a sample by size where known."""
    flops, samples, each = (given.get(name) for name in ("flops", "samples", "flops_per_sample"))
    if flops is None:
        if samples is None or each is None:
            raise BadInput("A profile needs the FLOPs of each run: give flops, or samples and flops_per_sample.")
        flops = samples * each
    if each is None and samples is not None:
        each = flops / samples
    return flops, None if each is None else Cost.of(np.log(given["size"]), np.log(each))


def _weights(given: dict[str, Array], flops: Array, known: ArrayLike | None) -> Array:
    """Next to nothing for diverged runs: above all that a law of N and C / N makes of the others near them."""
    x = np.stack([given["size"], flops / given["size"]], axis=1)
    told = np.zeros(len(flops), dtype=bool) if known is None else np.asarray(known, dtype=bool)
    if len(told) != len(flops):
        raise BadInput(f"known says of each run whether it diverged: {len(told)} values for {len(flops)} runs.")
    if shortage(form_named("chinchilla"), x[~told]):
        return np.where(told, LITTLE, 1.0)
    return diverged(x, given["loss"], "chinchilla", told).weights


def _refusals(found: Sequence[Profile]) -> list[str]:
    """Why each budget is refused, or nothing. Raises BadInput where fewer than three are left."""
    reasons = [refusal(p) for p in found]
    for _ in range(len(found) + 1):
        at = [i for i, reason in enumerate(reasons) if not reason]
        if len(at) < LEAST_BUDGETS:
            why = _listed([reason for reason in reasons if reason]) or f"the table has {len(found)}"
            raise BadInput(
                f"A law of the best size needs {LEAST_BUDGETS} budgets with an optimum inside their sizes: {why}."
            )
        grid, centre = grid_of([found[i] for i in at])
        valley, _ = robust(grid, np.eye(len(at)), 3 * len(at) + 2)
        for k, i in enumerate(at):
            flat = valley.depth[0, k] <= 0
            reasons[i] = refusal(found[i], -np.inf if flat else valley.theta[0, 2 + k] + centre)
        if all(not reasons[i] for i in at):
            break
    return reasons


def _listed(reasons: Sequence[str]) -> str:
    more = [f"and {len(reasons) - SHOWN} more"] if len(reasons) > SHOWN else []
    return "; ".join([*reasons[:SHOWN], *more])


def _optimum(p: Profile, refused: str, own: tuple[Array, Array] | None, cost: Cost | None, level: float) -> Optimum:
    size = samples = loss = None
    if own is not None:
        value, draws = own
        size, loss = (Interval.of_log(value[i], draws[:, i], level) for i in (0, 1))
        if cost is not None:
            c = np.log(p.flops)
            samples = Interval.of_log((c - cost(value[:1]))[0], c - cost(draws[:, 0]), level)
    return Optimum(p.flops, len(p.n), len(p.sizes), refused, size, samples, loss, turn(p, 3), turn(p, 2))


def _compared(kept: Sequence[Profile], level: float) -> dict[str, Interval]:
    """The usual way: a vertex for each budget, then ordinary least squares with Student's interval."""
    from scipy.special import stdtrit

    found = {}
    for name, degree in (("parabola", 2), ("cubic", 3)):
        turns = [(np.log(p.flops), t.n) for p in kept if (t := turn(p, degree)).n is not None]
        if len(turns) < LEAST_BUDGETS:
            continue
        c, n = np.array(turns, dtype=float).T
        u = c - c.mean()
        slope = float(u @ n / (u @ u))
        rest = n - n.mean() - slope * u
        wide = float(stdtrit(len(c) - 2, (1 + level) / 2)) * float(np.sqrt(rest @ rest / (len(c) - 2) / (u @ u)))
        found[name] = Interval(slope, slope - wide, slope + wide)
    return found
