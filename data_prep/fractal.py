"""FractalDB (Kataoka et al., ACCV 2020): categories are iterated function systems, instances perturb them.

A category is a set of 2 to ``maps`` affine maps, drawn from a category's own seed and kept if its attractor fills
enough of the image; an instance multiplies one parameter per map by 0.8 to 1.2, has its own colours and may be
mirrored. Systems are contractive by construction (singular values as in Anderson & Farrell, WACV 2022). Everything is
a pure function of (seed, category, instance): alone or in any batch, an image is the same.

Suffixes: B images, K chains of one image, M maps, S side.
"""

from dataclasses import dataclass

import numpy as np

CHAINS = 64
SETTLE = 16
FILL = 0.15
"""Least share of pixels that a category's unperturbed attractor must cover."""
TRIES = 200


@dataclass(frozen=True)
class Category:
    """Affine maps (M, 2, 3) and the cumulative probability of each (M,)."""

    maps: np.ndarray
    weights: np.ndarray


def category(seed: int, index: int, size: int, closeness: float = 0.0) -> Category:
    """The ``index``-th category. With ``closeness`` c > 0 its maps lie between its base's and its own, so that
    categories of one base (ten categories each) look alike."""
    own = _kept_system(np.random.Generator(np.random.Philox(key=[seed, index])), size)
    if closeness <= 0:
        return own
    base = _kept_system(np.random.Generator(np.random.Philox(key=[seed, 2**32 + index // 10])), size)
    m = min(len(own.maps), len(base.maps))
    mixed = closeness * base.maps[:m] + (1 - closeness) * own.maps[:m]
    return Category(mixed, _probabilities(mixed))


def render(
    categories: list[Category], instances: np.ndarray, labels: np.ndarray, seed: int, size: int, points: int
) -> np.ndarray:
    """uint8 (B, S, S, 3): instance ``instances[i]`` of category ``labels[i]``."""
    generators = [
        np.random.Generator(np.random.Philox(key=[seed, 2**33 + (int(c) << 20) + int(i)]))
        for c, i in zip(labels, instances, strict=True)
    ]
    most = max(len(categories[c].maps) for c in labels)
    maps_BM23 = np.zeros((len(labels), most, 2, 3))
    weights_BM = np.full((len(labels), most), 2.0)
    colours_B23 = np.zeros((len(labels), 2, 3))
    mirror_B = np.zeros(len(labels), dtype=np.int64)
    for b, (c, g) in enumerate(zip(labels, generators, strict=True)):
        system = categories[c]
        m = len(system.maps)
        factor = np.ones((m, 6))
        factor[np.arange(m), g.integers(0, 6, m)] = g.uniform(0.8, 1.2, m)
        maps_BM23[b, :m] = system.maps * factor.reshape(m, 2, 3)
        weights_BM[b, :m] = system.weights
        colours_B23[b] = g.uniform(0.0, 1.0, (2, 3))
        mirror_B[b] = g.integers(0, 4)
    density_BSS = _density(maps_BM23, weights_BM, size, points)
    return _paint(density_BSS, colours_B23, mirror_B)


def _kept_system(g: np.random.Generator, size: int) -> Category:
    """The first drawn system that fills enough; the fullest of ``TRIES`` if none does."""
    best, fullest = None, -1.0
    for _ in range(TRIES):
        system = _system(g)
        density = _density(system.maps[None], system.weights[None], size, 8 * size * size)
        fill = float((density > 0).mean())
        if fill > fullest:
            best, fullest = system, fill
        if fill >= FILL:
            break
    assert best is not None
    return best


def _system(g: np.random.Generator) -> Category:
    """Random rotations and singular values whose weighted sum keeps the system contractive (WACV 2022, eq. 4)."""
    m = int(g.integers(2, 6))
    target = g.uniform((5 + m) / 2, (6 + m) / 2)
    raw_M2 = np.sort(g.uniform(0.1, 1.0, (m, 2)), axis=1)[:, ::-1]
    scale = target / (raw_M2[:, 0] + 2 * raw_M2[:, 1]).sum()
    s_M2 = np.clip(raw_M2 * scale, 0.02, 0.98)
    angles_M2 = g.uniform(0, 2 * np.pi, (m, 2))
    signs_M2 = g.choice([-1.0, 1.0], (m, 2))
    maps = np.empty((m, 2, 3))
    for i in range(m):
        maps[i, :, :2] = _rotation(angles_M2[i, 0]) @ np.diag(s_M2[i] * signs_M2[i]) @ _rotation(angles_M2[i, 1])
    maps[:, :, 2] = g.uniform(-1, 1, (m, 2))
    return Category(maps, _probabilities(maps))


def _rotation(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def _probabilities(maps_M23: np.ndarray) -> np.ndarray:
    """Cumulative, in proportion to |det|, none below a hundredth (FractalDB, section 3.1)."""
    det = np.abs(maps_M23[:, 0, 0] * maps_M23[:, 1, 1] - maps_M23[:, 0, 1] * maps_M23[:, 1, 0])
    p = np.maximum(det, 0.01)
    return np.cumsum(p / p.sum())


def _choices(weights_BM: np.ndarray, steps: int) -> np.ndarray:
    """Map taken by every chain at every step (steps, B, K); the coin is the same for all images, so an image does
    not depend on its batch."""
    coin_TK = np.random.Generator(np.random.Philox(key=7)).random((steps, CHAINS))
    chosen = np.zeros((steps, len(weights_BM), CHAINS), dtype=np.int8)
    for m in range(weights_BM.shape[1] - 1):
        chosen += coin_TK[:, None, :] > weights_BM[None, :, m, None]
    return chosen


def _density(maps_BM23: np.ndarray, weights_BM: np.ndarray, size: int, points: int) -> np.ndarray:
    """Visits of the chaos game to each pixel, (B, S, S), the attractor fitted to the image."""
    b = len(maps_BM23)
    steps = -(-points // CHAINS) + SETTLE
    chosen_TBK = _choices(weights_BM, steps)
    x_BK, y_BK = np.zeros((b, CHAINS)), np.zeros((b, CHAINS))
    row_B1 = np.arange(b)[:, None]
    trace = np.empty((2, steps - SETTLE, b, CHAINS))
    flat = maps_BM23.reshape(b, maps_BM23.shape[1], 6)
    for t in range(steps):
        a, bb, e, c, d, f = np.moveaxis(flat[row_B1, chosen_TBK[t]], -1, 0)
        x_BK, y_BK = a * x_BK + bb * y_BK + e, c * x_BK + d * y_BK + f
        if t >= SETTLE:
            trace[0, t - SETTLE], trace[1, t - SETTLE] = x_BK, y_BK
    np.nan_to_num(trace, copy=False, posinf=1e6, neginf=-1e6)
    np.clip(trace, -1e6, 1e6, out=trace)
    low = trace.min(axis=(1, 3), keepdims=True)
    span = np.maximum((trace.max(axis=(1, 3), keepdims=True) - low).max(axis=0), 1e-9)
    pixel = ((trace - low) / span * (size - 1e-6)).astype(np.int64)
    cell = (row_B1.reshape(1, b, 1) * size + pixel[1]) * size + pixel[0]
    return np.bincount(cell.ravel(), minlength=b * size * size).reshape(b, size, size)


def _paint(density_BSS: np.ndarray, colours_B23: np.ndarray, mirror_B: np.ndarray) -> np.ndarray:
    """Log density between two colours of the instance, on black."""
    log = np.log1p(density_BSS)
    shade = log / log.max(axis=(1, 2), keepdims=True)
    for b, kind in enumerate(mirror_B):
        shade[b] = shade[b, :: -1 if kind & 1 else 1, :: -1 if kind & 2 else 1]
    mixed = (
        colours_B23[:, 0, None, None, :] * (1 - shade[..., None])
        + colours_B23[:, 1, None, None, :] * shade[..., None]
    )
    bright = np.sqrt(shade)[..., None] * (0.3 + 0.7 * mixed)
    return (bright * 255 + 0.5).astype(np.uint8)
