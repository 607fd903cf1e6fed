"""CutMix (Yun et al., arXiv 1905.04899) of neighbouring samples: a box of each becomes its partner's.

Samples 2k and 2k + 1 swap one box drawn for the pair, with the distribution of ``torchvision.transforms.v2.CutMix``.
Suffixes: H height, W width, P pairs.
"""

import torch
from torch import Tensor

from pipeline.data import draws
from pipeline.data.mixup import draw_weights


def draw_cuts(seed: int, pairs_P: Tensor, stream: int, h: int, w: int, alpha: float) -> Tensor:
    """(P, 4) int64 boxes (top, left, bottom, right): centred anywhere in the image, sqrt(1 - Beta(alpha, alpha)) of its
    sides, cut off at its rim. Uses 3 streams from ``stream`` on."""
    half_P = 0.5 * (1.0 - draw_weights(seed, pairs_P, stream, alpha)).sqrt()
    size_2 = torch.tensor([h, w], device=pairs_P.device)
    centre_P2 = (draws.uniforms_of(seed, pairs_P, stream + 1, 2) * size_2).long()
    half_P2 = (half_P[:, None] * size_2).long()
    return torch.cat([(centre_P2 - half_P2).clamp(min=0), torch.minimum(centre_P2 + half_P2, size_2)], 1)


def outside(boxes_P4: Tensor, h: int, w: int) -> Tensor:
    """Which pixels lie outside of the boxes, (P, 1, H, W) bool. Their share is that of a sample's own label."""
    top, left, bottom, right = boxes_P4[:, :, None].unbind(1)
    y_H, x_W = torch.arange(h, device=boxes_P4.device), torch.arange(w, device=boxes_P4.device)
    inside_PH, inside_PW = (y_H >= top) & (y_H < bottom), (x_W >= left) & (x_W < right)
    return ~(inside_PH[:, None, :, None] & inside_PW[:, None, None, :])
