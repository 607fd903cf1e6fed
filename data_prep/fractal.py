"""FractalDB (Kataoka et al., ACCV 2020): categories are iterated function systems, instances perturb them.

A category is a set of 2 to 5 affine maps, drawn from the category's own seed and kept if its attractor fills enough of
the image; an instance multiplies one parameter of each map by 0.8 to 1.2, has its own two colours and may be mirrored.
Systems are contractive by construction (singular values as in Anderson & Farrell, WACV 2022), so nearly all are kept.

Everything is a pure function of (seed, category, instance): alone or in any batch, an image is the same. Random numbers
come from Philox; maps are rounded to multiples of 2^-20 after the trigonometry and the rest is IEEE arithmetic, so
machines agree.

Suffixes: B images, K chains of one image, M maps, P parameters of a map (a b e c d f), S side, T steps.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

BATCH = 64
CHAINS = 64
UNIT = 2**20
"""Maps are multiples of its inverse."""
SETTLE = 16
"""First steps of every chain that are not drawn."""
FILL = 0.15
"""Least share of pixels that a category's unperturbed attractor must cover."""
TRIES = 200
SIBLINGS = 10
"""Categories that approach one base when ``closeness`` is positive."""
GATHERED = 2**18
"""Steps of chains whose maps are looked up at once."""
TRIED_POINTS = 2**22
"""Of systems that are tried at once."""
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
    categories: Sequence[Category] | Mapping[int, Category],
    instances: np.ndarray,
    labels: np.ndarray,
    seed: int,
    size: int,
    points: int,
) -> np.ndarray:
    """uint8 (B, S, S, 3): instance ``instances[i]`` of category ``labels[i]``, by ``points`` points each."""
    b = len(labels)
    maps_BMP, weights_BM = _padded([categories[c] for c in labels.tolist()])
    colours_B23 = np.empty((b, 2, 3))
    mirror_B = np.empty(b, dtype=np.int64)
    for row, (c, instance) in enumerate(zip(labels.tolist(), instances.tolist(), strict=True)):
        g, m = _generator(seed, 2**33 + (c << 20) + instance), len(categories[c].maps)
        maps_BMP[row, np.arange(m), g.integers(0, 6, m)] *= g.uniform(0.8, 1.2, m)
        colours_B23[row] = g.uniform(0.0, 1.0, (2, 3))
        mirror_B[row] = g.integers(0, 4)
    return _paint(_density(_contracting(maps_BMP), weights_BM, size, points), colours_B23, mirror_B)


def drawing(categories: Sequence[Category], seed: int, size: int, points: int) -> dict[str, Any]:
    """All that ``draw`` needs, as plain JSON: maps are whole numbers of 2^-20, so nothing is lost."""
    systems = [np.rint(category.maps * UNIT).astype(np.int64).ravel().tolist() for category in categories]
    return {"kind": "fractal", "seed": seed, "size": size, "points": points, "systems": systems}


def draw(drawing: Mapping[str, Any], labels: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """uint8 (B, S, S, 3): what a ``drawing`` says of these instances of these categories."""
    systems = {c: _system_of(drawing["systems"][c]) for c in np.unique(labels).tolist()}
    size, points, most = drawing["size"], drawing["points"], batch_size(drawing["size"])
    images = np.empty((len(labels), size, size, 3), dtype=np.uint8)
    for start in range(0, len(labels), most):
        part = slice(start, start + most)
        images[part] = render(systems, instances[part], labels[part], drawing["seed"], size, points)
    return images


def contents(drawing: Mapping[str, Any], labels: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """uint64 (N,): a hash of all that decides each image, without drawing it. Instances of a category never collide."""
    common = [drawing["seed"], drawing["size"], drawing["points"]]
    base_C = np.empty(len(drawing["systems"]), dtype=np.uint64)
    for c, system in enumerate(drawing["systems"]):
        key = hashlib.blake2b(json.dumps([*common, c, system]).encode(), digest_size=8)
        base_C[c] = int.from_bytes(key.digest(), "little")
    return _mixed(base_C[labels] + instances.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))


def batch_size(size: int) -> int:
    """Images drawn at once: 64 of 32 px, fewer of larger ones, to bound memory."""
    return max(8, min(BATCH, BATCH * 1024 // size**2))


def _system_of(numbers: Sequence[int]) -> Category:
    maps_M23 = np.array(numbers, dtype=np.float64).reshape(-1, 2, 3) / UNIT
    return Category(maps_M23, _probabilities(maps_M23))


def _mixed(x_N: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele et al. 2014), one to one on uint64."""
    x_N = (x_N ^ (x_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x_N = (x_N ^ (x_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x_N ^ (x_N >> np.uint64(31))


def _generator(seed: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=np.array([seed, stream], dtype=np.uint64)))


def _kept(draw: Callable[[], Category], size: int) -> Category:
    """The first drawn system that fills enough; the fullest of ``TRIES`` if none does. As many are tried at
    once as were tried before, for mostly the first will do."""
    points = 8 * size * size
    best, fullest, tried = None, -1.0, 0
    while tried < TRIES:
        systems = [draw() for _ in range(max(1, min(tried, TRIES - tried, TRIED_POINTS // points)))]
        tried += len(systems)
        for system, density in zip(systems, _density(*_padded(systems), size, points), strict=True):
            fill = float((density > 0).mean())
            if fill > fullest:
                best, fullest = system, fill
            if fill >= FILL:
                return system
    assert best is not None
    return best


def _padded(systems: list[Category]) -> tuple[np.ndarray, np.ndarray]:
    """Maps (B, M, P) and weights (B, M) of systems side by side; a map that is not there is never chosen."""
    most = max(len(system.maps) for system in systems)
    maps_BMP = np.zeros((len(systems), most, 6))
    weights_BM = np.full((len(systems), most), 2.0)
    for row, system in enumerate(systems):
        m = len(system.maps)
        maps_BMP[row, :m] = system.maps.reshape(m, 6)
        weights_BM[row, :m] = system.weights
    return maps_BMP, weights_BM


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
    return np.rint(maps * UNIT) / UNIT


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


@lru_cache(4)
def _coins(steps: int) -> np.ndarray:
    """Uniform, (T, K): the same for all images, so that an image does not depend on its batch."""
    return _generator(7, 0).random((steps, CHAINS))


def _choices(coin_TK: np.ndarray, weights_BM: np.ndarray) -> np.ndarray:
    """Map taken by every chain at every step, (T, B, K), counted through the maps of all images."""
    b, most = weights_BM.shape
    chosen_TBK = np.zeros((len(coin_TK), b, CHAINS), dtype=np.uint8)
    for m in range(most - 1):
        chosen_TBK += coin_TK[:, None, :] > weights_BM[None, :, m, None]
    return chosen_TBK + (np.arange(b) * most)[:, None]


def _trace(maps_BMP: np.ndarray, weights_BM: np.ndarray, steps: int) -> np.ndarray:
    """Where every chain was at every step, float32 (2, T, B, K)."""
    b, most, _ = maps_BMP.shape
    columns_PN = maps_BMP.astype(np.float32).reshape(b * most, 6).T.copy()
    trace = np.empty((2, steps, b, CHAINS), dtype=np.float32)
    x_BK = y_BK = np.zeros((b, CHAINS), dtype=np.float32)
    block = max(1, GATHERED // (b * CHAINS))
    for start in range(0, steps, block):
        chosen_TBK = _choices(_coins(steps)[start : start + block], weights_BM)
        gathered = [column_N[chosen_TBK] for column_N in columns_PN]
        for t, (a, b_, e, c, d, f) in enumerate(zip(*gathered, strict=True), start):
            a *= x_BK  # in place, for these arrays are ours and small enough to stay in the cache
            b_ *= y_BK
            a += b_
            c *= x_BK
            d *= y_BK
            c += d
            x_BK, y_BK = np.add(a, e, out=trace[0, t]), np.add(c, f, out=trace[1, t])
    return trace


def _density(maps_BMP: np.ndarray, weights_BM: np.ndarray, size: int, points: int) -> np.ndarray:
    """Visits of the chaos game to each pixel, (B, S, S): the attractor fitted to the image and centred in it."""
    b = len(maps_BMP)
    place = _trace(maps_BMP, weights_BM, -(-points // CHAINS) + SETTLE)[:, SETTLE:]
    low, high = place.min(axis=(1, 3), keepdims=True), place.max(axis=(1, 3), keepdims=True)
    span = np.maximum((high - low).max(axis=0), np.float32(1e-9))
    place -= (low + high) / 2
    place *= np.float32(size) / span
    place += np.float32(size / 2)
    pixel = place.astype(np.int32)
    np.clip(pixel, 0, size - 1, out=pixel)
    cell = (np.arange(b, dtype=np.int64)[:, None] * size + pixel[1]) * size + pixel[0]
    return np.bincount(cell.ravel(), minlength=b * size * size).reshape(b, size, size)


def _paint(density_BSS: np.ndarray, colours_B23: np.ndarray, mirror_B: np.ndarray) -> np.ndarray:
    """Log density between two colours of the instance, on black."""
    log = np.log1p(density_BSS).astype(np.float32)
    shade = log / log.max(axis=(1, 2), keepdims=True)
    for b, kind in enumerate(mirror_B):
        shade[b] = shade[b, :: -1 if kind & 1 else 1, :: -1 if kind & 2 else 1]
    dark_B3, light_B3 = colours_B23.astype(np.float32).swapaxes(0, 1)
    bright = np.empty((*shade.shape, 3), dtype=np.uint8)
    for channel in range(3):
        dark, light = dark_B3[:, channel, None, None], light_B3[:, channel, None, None]
        mixed = dark * (1 - shade) + light * shade
        bright[..., channel] = np.sqrt(shade) * (np.float32(0.3) + np.float32(0.7) * mixed) * 255 + np.float32(0.5)
    return bright
