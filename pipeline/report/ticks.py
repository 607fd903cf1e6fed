"""Domains and tick values of log axes, fixed so that filtering never makes an axis jump."""

import math
from collections.abc import Iterable

_MANTISSAS = ([1.0], [1.0, 3.0], [1.0, 2.0, 5.0], [1.0, 1.5, 2.0, 3.0, 5.0, 7.0])


def log_domain(values: Iterable[float], pad: float = 0.05) -> list[float]:
    """Least and greatest, a little apart from the frame, in log space. Without values, one decade."""
    positive = [v for v in values if v > 0 and math.isfinite(v)]
    if not positive:
        return [1.0, 10.0]
    lo, hi = math.log10(min(positive)), math.log10(max(positive))
    room = max((hi - lo) * pad, 0.02)
    return [10 ** max(lo - room, -300.0), 10 ** min(hi + room, 300.0)]


def log_ticks(domain: list[float], fewest: int = 4, most: int = 8) -> list[float]:
    """Round values inside the domain: decades when it is wide, finer ones when it is narrow."""
    lo, hi = domain
    for mantissas in _MANTISSAS:
        found = _at(mantissas, lo, hi)
        if fewest <= len(found) <= most:
            return found
    finest = _at(_MANTISSAS[-1], lo, hi)
    if len(finest) > most:  # many decades
        decades = _at(_MANTISSAS[0], lo, hi)
        return decades[:: math.ceil(len(decades) / most)]
    return _linear(lo, hi, fewest)


def _at(mantissas: list[float], lo: float, hi: float) -> list[float]:
    exponents = range(math.floor(math.log10(lo)), math.ceil(math.log10(hi)) + 1)
    found = [float(f"{m}e{e}") for e in exponents for m in mantissas]
    return [v for v in found if lo <= v <= hi]


def _linear(lo: float, hi: float, count: int) -> list[float]:
    rough = (hi - lo) / count
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= rough * 0.7)
    first = math.ceil(lo / step)
    return [float(f"{k * step:.12g}") for k in range(first, math.floor(hi / step) + 1)]
