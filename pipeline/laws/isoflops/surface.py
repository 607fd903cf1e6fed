"""Surface: the optimum of a budget by the second route, from a law L(N, D) fitted to all runs at once.

For the law of Hoffmann et al. and C = k N D the optimum is N* = G (C / k)^(beta / (alpha + beta)) (their equation 4).
Under measured FLOPs, and for other laws, it is found on a grid of sizes with the FLOPs of a sample read between runs.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import BadInput
from pipeline.laws import gates
from pipeline.laws.diverged import LITTLE, diverged
from pipeline.laws.fit import Fit, fit, nearby
from pipeline.laws.forms import Array, form_named
from pipeline.laws.isoflops.allocation import LEVEL, Agreement, Allocation, Cost, Interval, Share, agreement, allocation
from pipeline.laws.isoflops.budget import columns
from pipeline.laws.isoflops.isoflop import DRAWS, IsoFLOP
from pipeline.laws.isoflops.valley import BATCH, HALF

GRID = 48
FINER = 9
"""Points between the neighbours of the lowest, in each of ``ROUNDS`` rounds."""
ROUNDS = 3
BUDGETS = 5
"""Over the range of FLOPs, where runs name none."""
BEYOND = np.log(16.0)
"""How far past the smallest and largest model run the optimum is looked for."""


@dataclass(frozen=True)
class Lowest:
    """The lowest points of a law along its budgets."""

    fit: Fit
    theta: Array = field(repr=False)
    """Draws of its parameters [B, p]."""
    allocation: Allocation
    cost: Cost = field(repr=False)

    def at(self, flops: float) -> Share:
        """Looked for anew at this compute, so that nothing need be a power law."""
        cost, level = self.cost, self.allocation.size.level
        middle, c = np.log(self.allocation.size(flops).value), float(np.log(flops))
        n = np.linspace(middle - 2 * BEYOND, middle + 2 * BEYOND, GRID)
        sizes, logs = _lowest(self.fit, np.concatenate([self.fit.theta[None], self.theta]), n, c, cost)
        columns = (sizes, c - cost(sizes), logs)
        return Share(*(Interval.of_log(float(v[0]), v[1:], level) for v in columns))


@dataclass(frozen=True)
class Surface(Lowest):
    agreement: Agreement
    """With the isoFLOP route, from the same runs under the same noise."""


@dataclass(frozen=True)
class Alone(Lowest):
    """The second route by itself, where there are no profiles to compare it with."""

    noise: float
    """Standard deviation of a run's ln loss about the law."""
    outliers: list[int]
    """Rows that have diverged and count little."""


def surface(found: IsoFLOP, size: ArrayLike, samples: ArrayLike, loss: ArrayLike, form: str = "chinchilla") -> Surface:
    """Fit ``form`` of N and D to the rows that ``isoflop`` was given, and compare at the budgets that it kept.

    Draws add the noise of that route to this law, so the two are paired; it is widened where runs scatter more about
    this law. Runs of budgets that were refused take part with noise of their own: a budget without an optimum inside
    its sizes still says how loss falls. Raises BadInput for a form that does not take N and D, and where the optimum
    lies past the grid.
    """
    of_size_and_samples(form)
    if found.cost is None:
        raise BadInput("The second route needs the samples of each run: give isoflop samples or flops_per_sample too.")
    given = columns(size=size, samples=samples, loss=loss)
    if len(given["size"]) != len(found.weights):
        raise BadInput("The second route needs the same rows as the first.")
    x = np.stack([given["size"], given["samples"]], axis=1)
    sound = found.weights > HALF
    weights = np.where(sound, 1.0, LITTLE)
    law = fit(x, given["loss"], form, weights)
    kept = [b.flops for b in found.budgets if not b.refused]
    freedom = max(1, int(np.count_nonzero(sound)) - law.form.size)
    scatter = 1.4826 * float(np.median(np.abs(law.residuals[sound]))) * np.sqrt(np.count_nonzero(sound) / freedom)
    wider = max(1.0, scatter / max(found.noise, 1e-12)) if scatter > 1e-9 else 1.0
    v = law.log(x) + wider * _noise(found)
    theta = _drawn(law, x, v, weights)
    split = optimum(law, theta, np.log(kept), found.cost, found.level)
    return Surface(law, theta, split, found.cost, agreement(found.allocation.size, split.size))


def _noise(found: IsoFLOP) -> Array:
    """What each draw adds to ln loss of every row [B, n]; rows that took no part borrow from others, in other draws."""
    random = np.random.Generator(np.random.Philox(key=[len(found.used), 8]))
    rows, draws = len(found.weights), len(found.noise_draws)
    lent = random.integers(len(found.used), size=rows)
    noise = np.stack([found.noise_draws[random.permutation(draws), column] for column in lent], axis=1)
    noise[:, found.used] = found.noise_draws
    return noise


def alone(
    size: ArrayLike,
    samples: ArrayLike,
    flops: ArrayLike,
    loss: ArrayLike,
    form: str = "chinchilla",
    known: ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Alone:
    """The law of all runs, whether or not they are profiles, and its optimum over the range of their FLOPs.

    ``known`` says which runs have diverged by their own account. Draws are as those of ``isoflop``: losses about the
    law under normal noise, whose size is known to Student's degree. Raises BadInput as ``surface`` does, and for fewer
    places than the form has parameters + 2.
    """
    of_size_and_samples(form)
    given = columns(size=size, samples=samples, flops=flops, loss=loss)
    x, chosen = np.stack([given["size"], given["samples"]], axis=1), form_named(form)
    gates.enough(chosen, x)
    weights = diverged(x, given["loss"], chosen, known).weights
    law, sound = fit(x, given["loss"], chosen, weights), weights > HALF
    dof = max(1, int(np.count_nonzero(sound)) - chosen.size)
    noise = float(np.sqrt((law.residuals[sound] ** 2).sum() / dof))
    random = np.random.Generator(np.random.Philox(key=[seed, 7]))
    scale = noise * np.sqrt(dof / random.chisquare(dof, (draws, 1)))
    v = law.log(x) + np.clip(scale * random.standard_normal((draws, len(x))), -12.0, 12.0)
    theta = _drawn(law, x, v, weights)
    c = np.log(np.geomspace(given["flops"].min(), given["flops"].max(), BUDGETS))
    cost = Cost.of(np.log(given["size"]), np.log(given["flops"] / given["samples"]))
    return Alone(law, theta, optimum(law, theta, c, cost, level), cost, noise, np.flatnonzero(~sound).tolist())


def _drawn(law: Fit, x: Array, v: Array, weights: Array) -> Array:
    """theta [B, p] of the law fitted to each set of ln loss v [B, n], so many at once as memory allows."""
    at_once = max(1, BATCH // (law.form.size * len(x)))
    parts = [v[i : i + at_once] for i in range(0, len(v), at_once)]
    return np.concatenate([nearby(law, x, part, np.broadcast_to(weights, part.shape)) for part in parts])


def of_size_and_samples(form: str) -> None:
    """Raises BadInput for a form of other inputs."""
    if form_named(form).inputs != ("N", "D"):
        raise BadInput(f"The form {form!r} is no law of model size N and samples D.")


def optimum(law: Fit, theta: Array, c: Array, cost: Cost, level: float) -> Allocation:
    """The best split at budgets ln C [K] under the measured ``cost`` of a sample, with draws theta [B, p]."""
    n = np.linspace(cost.n[0] - BEYOND, cost.n[-1] + BEYOND, GRID)
    each = [_lowest(law, np.concatenate([law.theta[None], theta]), n, budget, cost) for budget in c]
    sizes, logs = (np.stack([e[i] for e in each], axis=1) for i in (0, 1))
    if not np.all((sizes[0] > n[1]) & (sizes[0] < n[-2])):
        raise BadInput(
            f"The law {law.form.name} has no best model size within a factor of {np.exp(BEYOND):.0f} of those run: "
            "its two terms do not balance there."
        )
    return allocation(c, sizes[0], sizes[1:], logs[0], logs[1:], cost, level)


def _lowest(law: Fit, theta: Array, n: Array, budget: float, cost: Cost) -> tuple[Array, Array]:
    """ln N* and ln L* of each draw [B] at one ln C: ever finer grids about the lowest point, then their vertex."""
    grid = np.broadcast_to(n, (len(theta), len(n)))
    for _ in range(ROUNDS):
        near, _ = _three(grid, _along(law, theta, grid, budget, cost))
        grid = near[:, :1] + (near[:, 2:] - near[:, :1]) * np.linspace(0.0, 1.0, FINER)
    near, v = _three(grid, _along(law, theta, grid, budget, cost))
    left, middle, right = v.T
    bend = np.maximum(left - 2 * middle + right, 1e-300)
    shift = np.clip((left - right) / (2 * bend), -1.0, 1.0)
    return near[:, 1] + shift * (near[:, 2] - near[:, 1]), middle - (left - right) ** 2 / (8 * bend)


def _along(law: Fit, theta: Array, n: Array, budget: float, cost: Cost) -> Array:
    """ln L at ln N [B, g], with the samples that the budget leaves."""
    u = np.stack([n, budget - cost(n)], axis=-1) - law.centre
    return law.form.log(theta, u)[0] + law.offset


def _three(grid: Array, v: Array) -> tuple[Array, Array]:
    """The lowest point of each row and its neighbours: places and values, [B, 3]."""
    at = np.clip(v.argmin(1), 1, grid.shape[1] - 2)[:, None] + np.arange(-1, 2)
    return np.take_along_axis(grid, at, axis=1), np.take_along_axis(v, at, axis=1)
