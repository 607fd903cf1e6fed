"""ResNet in the BiT manner (arXiv 1912.11370): GroupNorm, standardised weights, pre-activation bottlenecks.

The same stages in post-activation form are the stem of the Hybrid. Suffixes: B batch, C channels, H height, W width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.arch import Hybrid, ResNet, Root, stem_width, units

EPS = 1e-5
STANDARD_EPS = 1e-10


class StdConv(nn.Conv2d):
    """Convolution whose kernel has zero mean and unit variance for each output channel."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(c_in, c_out, kernel, stride, padding=kernel // 2, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        # A batch norm over the flattened kernels is the fused form of (w - mean) / sqrt(var + eps).
        flat = F.batch_norm(
            self.weight.reshape(1, self.out_channels, -1),
            None,
            None,
            training=True,
            momentum=0.0,
            eps=STANDARD_EPS,
        )
        return self._conv_forward(input, flat.view_as(self.weight), None)


def norm(channels: int, groups: int) -> nn.GroupNorm:
    """``groups`` groups, or as many as divide the channels."""
    return nn.GroupNorm(math.gcd(groups, channels), channels, eps=EPS)


class PreUnit(nn.Module):
    """ResNet-V2 bottleneck, stride on the 3x3."""

    def __init__(self, c_in: int, middle: int, stride: int, groups: int) -> None:
        super().__init__()
        out = 4 * middle
        self.norm1, self.conv1 = norm(c_in, groups), StdConv(c_in, middle, 1)
        self.norm2, self.conv2 = norm(middle, groups), StdConv(middle, middle, 3, stride)
        self.norm3, self.conv3 = norm(middle, groups), StdConv(middle, out, 1)
        self.project = StdConv(c_in, out, 1, stride) if c_in != out or stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(x))
        shortcut = x if self.project is None else self.project(y)
        y = self.conv1(y)
        y = self.conv2(F.relu(self.norm2(y)))
        return self.conv3(F.relu(self.norm3(y))) + shortcut


class PostUnit(nn.Module):
    """ResNet-V1 bottleneck with a norm on the projection, as in the paper's hybrids."""

    def __init__(self, c_in: int, middle: int, stride: int, groups: int) -> None:
        super().__init__()
        out = 4 * middle
        self.conv1, self.norm1 = StdConv(c_in, middle, 1), norm(middle, groups)
        self.conv2, self.norm2 = StdConv(middle, middle, 3, stride), norm(middle, groups)
        self.conv3, self.norm3 = StdConv(middle, out, 1), norm(out, groups)
        self.project = self.project_norm = None
        if c_in != out or stride > 1:
            self.project, self.project_norm = StdConv(c_in, out, 1, stride), norm(out, groups)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.project is not None and self.project_norm is not None:
            shortcut = self.project_norm(self.project(x))
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu(self.norm3(self.conv3(y)) + shortcut)


class Backbone(nn.Module):
    """Root and stages: images (B, C, H, W) to a feature map (B, ``channels``, side, side)."""

    def __init__(self, arch: ResNet | Hybrid, channels: int) -> None:
        super().__init__()
        width, post = stem_width(arch), isinstance(arch, Hybrid)
        imagenet = arch.root is Root.imagenet
        self.root = StdConv(channels, width, 7, 2) if imagenet else StdConv(channels, width, 3, arch.root.stride)
        self.root_norm = norm(width, arch.groups) if post else None
        # Zero padding before the pool, not inside it: the official code's border (differs for negative values).
        self.pool = nn.Sequential(nn.ConstantPad2d(1, 0.0), nn.MaxPool2d(3, 2)) if imagenet else nn.Identity()
        unit = PostUnit if post else PreUnit
        shapes = units(arch)
        self.units = nn.Sequential(*(unit(c_in, middle, stride, arch.groups) for c_in, middle, _, stride in shapes))
        self.channels = shapes[-1][2]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        x_BCHW = self.root(x_BCHW)
        if self.root_norm is not None:
            x_BCHW = F.relu(self.root_norm(x_BCHW))
        return self.units(self.pool(x_BCHW))


class BiTResNet(nn.Module):
    """Backbone, final norm, ReLU, mean over the map, head. It has no dropout, as in BiT."""

    def __init__(self, arch: ResNet, channels: int, classes: int) -> None:
        super().__init__()
        self.backbone = Backbone(arch, channels)
        self.norm = norm(self.backbone.channels, arch.groups)
        self.head = nn.Linear(self.backbone.channels, classes)

    def features(self, x_BCHW: Tensor) -> Tensor:
        """Images to representations (B, D): what the head sees."""
        if x_BCHW.device.type == "cpu":
            # A third faster here; CUDA's group norm would copy it back, and parameters stay contiguous for storage.
            x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
        return F.relu(self.norm(self.backbone(x_BCHW))).mean((2, 3))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.features(x_BCHW))
