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


def mix(images_BCHW: Tensor, share_P1HW: Tensor) -> Tensor:
    """Float images, each keeping the pair's share of its own; the rest is its partner's. H and W of the share may be 1.

    Raises ValueError when a pair is cut.
    """
    if len(images_BCHW) % 2:
        raise ValueError("mixup and CutMix need whole pairs of samples")
    pairs_P2CHW = images_BCHW.view(-1, 2, *images_BCHW.shape[1:])
    share_P11HW = share_P1HW[:, None].to(images_BCHW.dtype)
    return (pairs_P2CHW * share_P11HW).add_(pairs_P2CHW.flip(1).mul_(1 - share_P11HW)).flatten(0, 1)


def partner(x: Tensor) -> Tensor:
    """Every sample's partner, along the first dimension."""
    return x.view(len(x) // 2, 2, *x.shape[1:]).flip(1).reshape(x.shape)


def draw_weights(seed: int, pairs_P: Tensor, stream: int, alpha: float) -> Tensor:
    """Of Beta(alpha, alpha), float64 (P,), one for each pair's number."""
    return _beta(draws.uniforms(seed, pairs_P, stream), alpha)


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
