"""Positions: learned position embeddings brought to another grid (arXiv 2010.11929, section 3.2).

Suffixes: T tokens, D width, H rows, W columns.
"""

from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.arch import Arch, Hybrid, Pool, ResNet, ViT
from pipeline.errors import BadInput

Grid = tuple[int, int]
"""(rows, columns) of tokens."""
POSITIONS = "encoder.pos_embed"
"""Their name in the weights of a ViT or Hybrid."""


def square(rows: int) -> Grid | None:
    """The square grid of so many positions (class token left out), or None."""
    side = isqrt(max(rows, 0))
    return (side, side) if rows > 0 and side * side == rows else None


def resize(pos_1TD: Tensor, new: Grid, old: Grid | None = None, cls: bool = True) -> Tensor:
    """Positions (1, T, D) for a new grid, the class token's entry kept as the first.

    Bilinear with the corners of the grids on each other, as the official code's ``scipy.ndimage.zoom(order=1)``, but
    for any grid. The old one is square unless given. Raises BadInput when it does not account for the T positions.
    """
    prefix = 1 if cls else 0
    rows = pos_1TD.shape[1] - prefix
    old = old or square(rows)
    if min(new) < 1:
        raise BadInput(f"A grid of {new[0]} x {new[1]} tokens has none: give at least one row and one column.")
    if old is None or old[0] * old[1] != rows:
        given = f"not {old[0]} x {old[1]}" if old else "not a square"
        raise BadInput(
            f"There are position embeddings of {rows} patches, {given}: give the rows and columns they have "
            "(--source-grid)."
        )
    if old == new:
        return pos_1TD
    grid_1DHW = pos_1TD[:, prefix:].unflatten(1, old).permute(0, 3, 1, 2)
    zoomed = F.interpolate(grid_1DHW, new, mode="bilinear", align_corners=True)
    return torch.cat([pos_1TD[:, :prefix], zoomed.flatten(2).transpose(1, 2)], dim=1)


def grid_of(arch: Arch, image_size: int) -> Grid | None:
    """Of a square image; None for an Arch without positions."""
    if not isinstance(arch, ViT | Hybrid):
        return None
    return square(arch.tokens(image_size) - (arch.pool is Pool.cls))


def pixels(arch: ViT | Hybrid | ResNet) -> int:
    """Of an image, along the side of a token, or of a pixel of a ResNet's feature map."""
    if isinstance(arch, ViT):
        return arch.patch
    stride = arch.root.stride * 2 ** max(0, len(arch.depths) - 1)
    return stride * (arch.patch if isinstance(arch, Hybrid) else 1)
