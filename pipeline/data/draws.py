"""Draws: random numbers that are a pure function of (seed, sample counter, stream).

No generator and no state: the same sample gets the same draws in whatever batch, on whichever device it is computed.
Suffixes: B batch, S streams.
"""

import torch
from torch import Tensor

MASK = (1 << 62) - 1
SEED, STREAM = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03


def integers(seed: int, counters_B: Tensor, stream: int = 0) -> Tensor:
    """Non-negative 62-bit integers (B,), int64, one per counter: the splitmix64 finaliser, in wrapping int64.

    ``stream`` separates draws for different purposes.
    """
    return _mixed(counters_B.to(torch.int64) + _signed(SEED * (seed + 1) + STREAM * stream))


def uniforms(seed: int, counters_B: Tensor, stream: int) -> Tensor:
    """Numbers in [0, 1), float64 (B,)."""
    return _unit(integers(seed, counters_B, stream))


def uniforms_of(seed: int, counters_B: Tensor, stream: int, count: int) -> Tensor:
    """Numbers in [0, 1), float64 (B, S): those of ``count`` streams from ``stream`` on, at once."""
    start_B = counters_B.to(torch.int64) + _signed(SEED * (seed + 1) + STREAM * stream)
    steps_S = torch.arange(count, device=counters_B.device) * _signed(STREAM)
    return _unit(_mixed(start_B[:, None] + steps_S))


def keep(seed: int, counters_B: Tensor, stream: int, shape: torch.Size, probability: float) -> Tensor:
    """Booleans (B, *shape), each true with ``probability``: a 32-bit mixing of (sample, element)."""
    size = shape.numel()
    start_B = _narrow(integers(seed, counters_B, stream))
    step = _narrow(torch.arange(size, device=counters_B.device) * 0x9E3779B9)
    x = start_B[:, None] + step[None, :]
    x = (x ^ _shift32(x, 16)) * 0x21F0AAAD
    x = (x ^ _shift32(x, 15)) * 0x735A2D97
    x = x ^ _shift32(x, 15)
    return (x < round((probability - 0.5) * 2**32)).view(-1, *shape)


def _mixed(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift(x, 27)) * _signed(0x94D049BB133111EB)
    return (x ^ _shift(x, 31)) & MASK


def _unit(drawn: Tensor) -> Tensor:
    return (drawn >> 10).to(torch.float64) * 2.0**-52


def _narrow(x: Tensor) -> Tensor:
    """The low 32 bits, as wrapping int32."""
    return ((x & 0xFFFFFFFF) ^ 0x80000000).sub(0x80000000).to(torch.int32)


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _shift32(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int32."""
    return (x >> bits) & ((1 << (32 - bits)) - 1)


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value
