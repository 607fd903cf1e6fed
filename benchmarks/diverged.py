"""Diverged runs: a tenth of the runs spoilt (loss x 1.5 to 3), how far exponents move and which runs are listed.

OMP_NUM_THREADS=1 python -m benchmarks.diverged
"""

import numpy as np

from benchmarks.table import show
from pipeline.laws.diverged import diverged
from pipeline.laws.fit import fit, refit
from pipeline.laws.forms import Array, form_named

STUDIES, SHARE = 40, 0.1
EXPONENTS = {"power_floor": ["alpha"], "chinchilla": ["alpha", "beta"]}
TRUTH = {"power_floor": [0.08, 40.0, 0.35], "chinchilla": [1.8172, 482.01, 0.3478, 2085.43, 0.3658]}


def study(form: str, count: int, noise: float, seed: int, heavy: bool = False) -> tuple[Array, Array, np.ndarray]:
    """x, clean y and which runs are to be spoilt."""
    random = np.random.Generator(np.random.Philox(key=[seed, count]))
    if form == "chinchilla":
        x = np.exp(random.uniform(np.log([4e7, 2e8]), np.log([1e10, 4e11]), (count, 2)))
    else:
        x = np.geomspace(1e5, 1e9, count)[:, None]
    shape = form_named(form)
    theta = shape.internal(np.array(TRUTH[form]), np.zeros(len(shape.inputs)), 0.0)
    errors = random.standard_t(4, count) / np.sqrt(2) if heavy else random.standard_normal(count)
    y = np.exp(shape.log(theta, np.log(x))[0] + noise * errors)
    spoilt = np.zeros(count, dtype=bool)
    spoilt[random.choice(count, round(SHARE * count), replace=False)] = True
    return x, y, spoilt


def spoil(y: Array, spoilt: np.ndarray, seed: int) -> Array:
    random = np.random.Generator(np.random.Philox(key=[seed, 1]))
    return np.where(spoilt, y * random.uniform(1.5, 3.0, len(y)), y)


def standard_errors(x: Array, y: Array, form: str, seed: int, draws: int = 200) -> Array:
    """Of the exponents, by resampling runs of the clean study."""
    found = fit(x, y, form)
    random = np.random.Generator(np.random.Philox(key=[seed, 2]))
    weights = random.multinomial(len(y), np.full(len(y), 1 / len(y)), draws).astype(float)
    theta = refit(found, x, np.tile(np.log(y), (draws, 1)), weights)
    return theta[:, [found.form.parameters.index(name) for name in EXPONENTS[form]]].std(0)


def moved(form: str, count: int, noise: float, heavy: bool = False) -> list[str]:
    moves: list[list[np.ndarray]] = [[], [], []]
    missed = wrong = clean = 0
    for seed in range(STUDIES):
        x, y, spoilt = study(form, count, noise, seed, heavy)
        bad = spoil(y, spoilt, seed)
        found = diverged(x, bad, form)
        error = standard_errors(x, y, form, seed)
        weights = (found.weights, np.where(spoilt, 1e-9, 1.0), np.ones(len(y)))
        before, *after = [fit(x, v, form, w) for v, w in ((y, weights[2]), *((bad, w) for w in weights))]
        for law, kept in zip(after, moves, strict=True):
            kept.append(np.array([abs(law.params[n] - before.params[n]) for n in EXPONENTS[form]]) / error)
        missed += int((spoilt & ~found.listed).sum())
        wrong += int((~spoilt & found.listed).sum())
        clean += int((~spoilt).sum())
    name = f"{form}, {count} runs, noise {noise:g}{' (Student, 4 dof)' if heavy else ''}"
    shares = [f"{np.median(m):.2f} / {np.quantile(m, 0.95):.2f} / {np.max(m):.2f}" for m in moves]
    return [name, *shares, str(missed), f"{wrong} of {clean}"]


if __name__ == "__main__":
    header = ["studies", "exponents moved, in SE: median / 95 % / most"]
    header += ["spoilt runs known and left out", "Huber alone", "missed", "clean runs listed"]
    cases = [
        ("power_floor", 20, 0.02),
        ("power_floor", 50, 0.02),
        ("power_floor", 50, 0.005),
        ("power_floor", 50, 0.05),
    ]
    cases += [("chinchilla", 60, 0.01), ("chinchilla", 240, 0.01), ("chinchilla", 240, 0.03)]
    rows = [moved(*case) for case in cases]
    show(header, [*rows, moved("power_floor", 50, 0.02, True), moved("chinchilla", 240, 0.02, True)])
