"""Fitting: one optimum from every start, bootstraps by the thousand, exact recovery, and many curves at once.

OMP_NUM_THREADS=1 python -m benchmarks.fitting

The peer of the bootstraps is scipy's L-BFGS-B on the same objective with the same gradients, from the same start.
Times are CPU time of this process.
"""

import time

import numpy as np
from scipy.optimize import minimize

from benchmarks.table import show
from pipeline.laws.ensemble import SINGLE, ensembles
from pipeline.laws.fit import Fit, fit, fit_many, nearby
from pipeline.laws.forms import FORMS

TRUTH = np.array([1.8172, 482.01, 0.3478, 2085.43, 0.3658])
"""Published refit of Hoffmann et al. (2022) by Besiroglu et al. (2024): E, A, alpha, B, beta."""
DELTA = 1e-3
PEER_DRAWS = 40


def surface(points: int = 240, noise: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """x [n, 2] in parameters and tokens, and losses with Student noise."""
    random = np.random.default_rng(0)
    size, tokens = (
        np.exp(random.uniform(np.log(low), np.log(high), points)) for low, high in ((5e7, 1.6e10), (1e9, 5e11))
    )
    form = FORMS["chinchilla"]
    x = np.stack([size, tokens], axis=1)
    v, _ = form.log(form.internal(TRUTH, np.zeros(2), 0.0), np.log(x))
    return x, np.exp(v + noise * random.standard_t(4, points))


def same_optimum(x: np.ndarray, y: np.ndarray) -> list[list[str]]:
    begun = time.process_time()
    found = [fit(x, y, "chinchilla", delta=DELTA, seed=seed) for seed in range(20)]
    seconds = (time.process_time() - begun) / len(found)
    values = np.array([one.objective for one in found])
    apart = f"{values.max() / values.min() - 1:.1e}"
    exponents = np.array([one.params["alpha"] for one in found])
    agree = f"{min(one.agree for one in found)} of 12"
    return [
        ["objective, 20 seeds of the starts", f"largest / smallest - 1 = {apart}"],
        ["alpha, 20 seeds of the starts", f"{np.ptp(exponents):.1e} apart"],
        ["starts followed that end there", f"at least {agree}"],
        ["one fit from all its starts", f"{seconds * 1e3:.0f} ms"],
    ]


def bootstraps(found: Fit, x: np.ndarray, y: np.ndarray, draws: int = 4000) -> list[list[str]]:
    weights = np.random.default_rng(1).multinomial(len(y), np.full(len(y), 1 / len(y)), size=draws).astype(float)
    begun = time.process_time()
    theta = nearby(found, x, np.log(y), weights)
    ours = time.process_time() - begun
    begun = time.process_time()
    peer = np.stack([_peer(found, x, np.log(y), w) for w in weights[:PEER_DRAWS]])
    theirs = (time.process_time() - begun) * draws / PEER_DRAWS
    gap = np.abs(peer[:, [2, 4]] - theta[:PEER_DRAWS][:, [2, 4]]).max(1)
    error = theta.std(0)
    return [
        [f"{draws:,} run-bootstraps", f"{ours:.2f} s"],
        [f"the same by scipy L-BFGS-B (from {PEER_DRAWS})", f"{theirs:.0f} s: {theirs / ours:.0f} x"],
        ["exponents of the two, median and largest gap", f"{np.median(gap):.1e}, {gap.max():.1e}"],
        ["standard errors of alpha and beta", f"{error[2]:.4f}, {error[4]:.4f}"],
    ]


def _peer(found: Fit, x: np.ndarray, v: np.ndarray, w: np.ndarray) -> np.ndarray:
    u = np.log(x) - found.centre
    target = v - found.offset

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = found.form.log(theta, u)
        residual = target - value
        inside = np.minimum(np.abs(residual), DELTA)
        total = (w * inside * (np.abs(residual) - 0.5 * inside)).sum()
        slope = -gradient @ (w * np.clip(residual, -DELTA, DELTA))
        return total / DELTA, slope / DELTA

    options = {"maxiter": 5000, "maxfun": 20000, "ftol": 1e-14, "gtol": 1e-10}
    return minimize(loss, found.theta, jac=True, method="L-BFGS-B", bounds=found.form.bounds, options=options).x


def many(curves: int = 72) -> list[list[str]]:
    random = np.random.default_rng(2)
    sets = []
    for _ in range(curves):
        x = np.geomspace(1e3, 1e7, random.integers(40, 61))
        falling = random.uniform(0.3, 1) * (x / 1e3 + random.uniform(0, 5)) ** -random.uniform(0.2, 0.6)
        sets.append((x, (random.uniform(0.05, 0.3) + falling) * np.exp(0.01 * random.standard_normal(len(x)))))
    rows, total = [], 0.0
    for name in [n for n in SINGLE if n != "sigmoid"]:
        begun = time.process_time()
        fit_many(sets, name)
        total += (taken := time.process_time() - begun)
        rows.append([f"{curves} curves, {name}", f"{taken:.2f} s"])
    begun = time.process_time()
    ensembles(sets)
    total += (taken := time.process_time() - begun)
    return [*rows, [f"{curves} curves, ensemble", f"{taken:.2f} s"], ["all of it", f"{total:.1f} s"]]


def main() -> None:
    x, y = surface()
    found = fit(x, y, "chinchilla", delta=DELTA)
    show(["what", "measured"], [*same_optimum(x, y), *bootstraps(found, x, y), *many()])


if __name__ == "__main__":
    main()
