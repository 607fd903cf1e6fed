"""FractalDB (Kataoka et al., ACCV 2020): categories are iterated function systems, instances perturb them.

A category is a set of 2 to 5 affine maps, drawn from the category's own seed and kept if its attractor fills enough of
the image; an instance multiplies one parameter of each map by 0.8 to 1.2, has its own two colours and may be mirrored.
Systems are contractive by construction (singular values as in Anderson & Farrell, WACV 2022), so nearly all are kept.

Everything is a pure function of (seed, category, instance): alone or in any batch, an image is the same. Random numbers
come from Philox; maps are rounded to multiples of 2^-20 after the trigonometry and the rest is IEEE arithmetic, so
machines agree.

Suffixes: B images, K chains of one image, M maps, P parameters of a map (a b e c d f), S side, T steps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CHAINS = 64
SETTLE = 16
"""First steps of every chain that are not drawn."""
FILL = 0.15
"""Least share of pixels that a category's unperturbed attractor must cover."""
TRIES = 200
SIBLINGS = 10
"""Categories that approach one base when ``closeness`` is positive."""
CONTRACTION = 0.98
"""Largest singular value of a map."""


@dataclass(frozen=True)
class Category:
    """Affine maps (M, 2, 3) and the cumulative probability of each (M,)."""

    maps: np.ndarray
    weights: np.ndarray


def category(seed: int, index: int, size: int, closeness: float = 0.0) -> Category:
    """The ``index``-th category of a seed; of its drawn systems the first that fills an image of ``size`` pixels.

    With ``closeness`` c > 0 its maps lie the share c of the way to those of a base, which ``SIBLINGS`` categories have
    in common: they look alike and are harder to tell apart.
    """
    own = _generator(seed, index)
    if closeness <= 0:
        return _kept(lambda: _system(own), size)
    shared = _generator(seed, 2**32 + index // SIBLINGS)
    base = _kept(lambda: _system(shared), size)

    def sibling() -> Category:
        maps = _rounded(closeness * base.maps + (1 - closeness) * _system(own, len(base.maps)).maps)
        return Category(maps, _probabilities(maps))

    return _kept(sibling, size)


def render(
    categories: list[Category], instances: np.ndarray, labels: np.ndarray, seed: int, size: int, points: int
) -> np.ndarray:
    """uint8 (B, S, S, 3): instance ``instances[i]`` of category ``labels[i]``, by ``points`` points each."""
    b = len(labels)
    most = max(len(categories[c].maps) for c in labels)
    maps_BMP = np.zeros((b, most, 6))
    weights_BM = np.full((b, most), 2.0)
    colours_B23 = np.empty((b, 2, 3))
    mirror_B = np.empty(b, dtype=np.int64)
    for row, (c, instance) in enumerate(zip(labels.tolist(), instances.tolist(), strict=True)):
        system, g = categories[c], _generator(seed, 2**33 + (c << 20) + instance)
        m = len(system.maps)
        maps_BMP[row, :m] = system.maps.reshape(m, 6)
        maps_BMP[row, np.arange(m), g.integers(0, 6, m)] *= g.uniform(0.8, 1.2, m)
        weights_BM[row, :m] = system.weights
        colours_B23[row] = g.uniform(0.0, 1.0, (2, 3))
        mirror_B[row] = g.integers(0, 4)
    return _paint(_density(_contracting(maps_BMP), weights_BM, size, points), colours_B23, mirror_B)


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, stream], dtype=np.uint64)))


def _kept(draw: Callable[[], Category], size: int) -> Category:
    """The first drawn system that fills enough; the fullest of ``TRIES`` if none does."""
    best, fullest = draw(), -1.0
    for attempt in range(TRIES):
        system = draw() if attempt else best
        density = _density(system.maps.reshape(1, -1, 6), system.weights[None], size, 8 * size * size)
        fill = float((density > 0).mean())
        if fill > fullest:
            best, fullest = system, fill
        if fill >= FILL:
            break
    return best


def _system(g: np.random.Generator, m: int = 0) -> Category:
    """Random rotations and singular values whose weighted sum keeps the system contractive (WACV 2022, eq. 4)."""
    m = m or int(g.integers(2, 6))
    target = g.uniform((5 + m) / 2, (6 + m) / 2)
    raw_M2 = np.sort(g.uniform(0.1, 1.0, (m, 2)), axis=1)[:, ::-1]
    scale = target / (raw_M2[:, 0] + 2 * raw_M2[:, 1]).sum()
    s_M2 = np.clip(raw_M2 * scale, 0.02, CONTRACTION) * g.choice([-1.0, 1.0], (m, 2))
    angles_M2 = g.uniform(0, 2 * np.pi, (m, 2))
    maps = np.empty((m, 2, 3))
    for i in range(m):
        maps[i, :, :2] = _rotation(angles_M2[i, 0]) @ np.diag(s_M2[i]) @ _rotation(angles_M2[i, 1])
    maps[:, :, 2] = g.uniform(-1, 1, (m, 2))
    maps = _rounded(maps)
    return Category(maps, _probabilities(maps))


def _rounded(maps: np.ndarray) -> np.ndarray:
    """Wipes out the last bits, in which the sines of two machines may differ."""
    return np.rint(maps * 2**20) / 2**20


def _rotation(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def _probabilities(maps_M23: np.ndarray) -> np.ndarray:
    """Cumulative, in proportion to |det|, none below a hundredth (FractalDB, section 3.1)."""
    det = np.abs(maps_M23[:, 0, 0] * maps_M23[:, 1, 1] - maps_M23[:, 0, 1] * maps_M23[:, 1, 0])
    p = np.maximum(det, 0.01)
    return np.cumsum(p / p.sum())


def _contracting(maps_BMP: np.ndarray) -> np.ndarray:
    """Shrinks the linear part of a map whose perturbation let it expand."""
    a, b, _, c, d, _ = np.moveaxis(maps_BMP, -1, 0)
    total, det = a * a + b * b + c * c + d * d, a * d - b * c
    largest = np.sqrt((total + np.sqrt(np.maximum(total * total - 4 * det * det, 0))) / 2)
    shrink = np.minimum(1.0, CONTRACTION / np.maximum(largest, 1e-9))[..., None]
    return maps_BMP * np.where(np.arange(6) % 3 == 2, 1.0, shrink)


def _choices(weights_BM: np.ndarray, steps: int) -> np.ndarray:
    """Map taken by every chain at every step, (T, B, K); the coin is the same for all images, so an image does not
    depend on its batch."""
    coin_TK = _generator(7, 0).random((steps, CHAINS))
    chosen = np.zeros((steps, len(weights_BM), CHAINS), dtype=np.int32)
    for m in range(weights_BM.shape[1] - 1):
        chosen += coin_TK[:, None, :] > weights_BM[None, :, m, None]
    return chosen


def _density(maps_BMP: np.ndarray, weights_BM: np.ndarray, size: int, points: int) -> np.ndarray:
    """Visits of the chaos game to each pixel, (B, S, S): the attractor fitted to the image and centred in it."""
    b, most, _ = maps_BMP.shape
    steps = -(-points // CHAINS) + SETTLE
    chosen_TBK = _choices(weights_BM, steps) + (np.arange(b, dtype=np.int32) * most)[:, None]
    parameters = maps_BMP.astype(np.float32).reshape(b * most, 6)
    a_, b_, e_, c_, d_, f_ = (np.ascontiguousarray(column) for column in parameters.T)
    trace = np.empty((2, steps, b, CHAINS), dtype=np.float32)
    x_BK = y_BK = np.zeros((b, CHAINS), dtype=np.float32)
    for t, map_BK in enumerate(chosen_TBK):
        x = a_[map_BK] * x_BK + b_[map_BK] * y_BK + e_[map_BK]
        y_BK = c_[map_BK] * x_BK + d_[map_BK] * y_BK + f_[map_BK]
        x_BK = trace[0, t] = x
        trace[1, t] = y_BK
    drawn = trace[:, SETTLE:]
    low, high = drawn.min(axis=(1, 3), keepdims=True), drawn.max(axis=(1, 3), keepdims=True)
    span = np.maximum((high - low).max(axis=0), np.float32(1e-9))
    place = (drawn - (low + high) / 2) * (np.float32(size) / span) + np.float32(size / 2)
    pixel = np.clip(place.astype(np.int32), 0, size - 1)
    cell = (np.arange(b, dtype=np.int64)[:, None] * size + pixel[1]) * size + pixel[0]
    return np.bincount(cell.ravel(), minlength=b * size * size).reshape(b, size, size)


def _paint(density_BSS: np.ndarray, colours_B23: np.ndarray, mirror_B: np.ndarray) -> np.ndarray:
    """Log density between two colours of the instance, on black."""
    log = np.log1p(density_BSS).astype(np.float32)
    shade = log / log.max(axis=(1, 2), keepdims=True)
    for b, kind in enumerate(mirror_B):
        shade[b] = shade[b, :: -1 if kind & 1 else 1, :: -1 if kind & 2 else 1]
    dark, light = colours_B23.astype(np.float32)[:, :, None, None, :].swapaxes(0, 1)
    mixed = dark * (1 - shade[..., None]) + light * shade[..., None]
    bright = np.sqrt(shade)[..., None] * (np.float32(0.3) + np.float32(0.7) * mixed)
    return (bright * 255 + np.float32(0.5)).astype(np.uint8)
