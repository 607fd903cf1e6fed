"""Groups: each image of a batch through a kernel of its own choice, those of one choice together.

Suffixes: B batch, N images of a group, C channels, H height, W width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Kernel = Callable[[Tensor, Tensor], Tensor]
"""(uint8 images NCHW, a number for each (N,) float64) to images."""


def apply(kernels: Sequence[Kernel], images_BCHW: Tensor, choice_B: Tensor, values_B: Tensor) -> Tensor:
    """Every image through the kernel whose number is its choice, with its value."""
    order_B = choice_B.argsort(stable=True)
    counts = torch.bincount(choice_B, minlength=len(kernels)).tolist()
    images, values = (x.index_select(0, order_B).split(counts) for x in (images_BCHW, values_B))
    groups = zip(kernels, images, values, strict=True)
    done = torch.cat([kernel(part, value) for kernel, part, value in groups if len(part)])
    return done.index_select(0, order_B.argsort())
