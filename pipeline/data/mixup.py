"""Mixup (Zhang et al., arXiv 1710.09412) of neighbouring samples, as a pure function of their counters.

Samples 2k and 2k + 1 of the order are mixed with one weight drawn for the pair, so the result does not depend on
how a batch is cut, as long as no pair is. Suffixes: B batch, C channels, H height, W width, P pairs.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pipeline.data import draws

QUANTILES = 4096


def mix(images_BCHW: Tensor, seed: int, counters_B: Tensor, stream: int, alpha: float) -> tuple[Tensor, Tensor]:
    """(mixed float images, weights (B,) of each sample's own label; the rest is its partner's).

    Raises ValueError when a pair is cut.
    """
    if len(counters_B) % 2:
        raise ValueError("mixup needs whole pairs of samples")
    weight_P = _beta(draws.uniforms(seed, counters_B[::2] // 2, stream), alpha)
    weight_B = weight_P.repeat_interleave(2).to(images_BCHW.dtype)
    share = weight_B[:, None, None, None]
    return images_BCHW * share + partner(images_BCHW) * (1 - share), weight_B


def partner(x: Tensor) -> Tensor:
    """Every sample's partner, along the first dimension."""
    return x.view(len(x) // 2, 2, *x.shape[1:]).flip(1).reshape(x.shape)


def _beta(uniform_P: Tensor, alpha: float) -> Tensor:
    """Beta(alpha, alpha) by its quantile function, interpolated between the centres of equal shares."""
    table = _quantiles(alpha).to(uniform_P.device)
    place = (uniform_P * QUANTILES - 0.5).clamp(0, QUANTILES - 1)
    low = place.floor().long()
    high = (low + 1).clamp(max=QUANTILES - 1)
    return table[low] + (table[high] - table[low]) * (place - low)


@lru_cache(maxsize=4)
def _quantiles(alpha: float) -> Tensor:
    from scipy.special import betaincinv

    return torch.from_numpy(betaincinv(alpha, alpha, (np.arange(QUANTILES) + 0.5) / QUANTILES))
