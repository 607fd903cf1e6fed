"""ResNet in the BiT manner (arXiv 1912.11370): GroupNorm, standardised weights, pre-activation bottlenecks.

The same stages in post-activation form are the stem of the Hybrid. Suffixes: B batch, C channels, H height, W width.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pipeline.arch import Hybrid, ResNet, Root, stem_width, units

EPS = 1e-5
STANDARD_EPS = 1e-10


def pad_same(x_BCHW: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """The border XLA calls "SAME": as little as gives ceil(side / stride) outputs, the odd pixel at the end."""
    total = [max(0, (-(-side // stride) - 1) * stride + kernel - side) for side in x_BCHW.shape[-2:]]
    (h, w) = total
    return F.pad(x_BCHW, (w // 2, w - w // 2, h // 2, h - h // 2), value=value)


def prefers_channels_last(x_BCHW: Tensor) -> bool:
    """On the CPU, eager and in single precision: a tenth to a third faster. Elsewhere such images cost more than they
    gain: CUDA's group norm copies them back, the CPU's is ten times slower with them in bfloat16, and compiled code half
    slower. Parameters stay contiguous for storage."""
    plain = not (torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling())
    return plain and x_BCHW.device.type == "cpu"


class StdConv(nn.Conv2d):
    """Convolution whose kernel has zero mean and unit variance for each output channel.

    The border is symmetric as in BiT, or with ``same`` the one of the paper's hybrids; they differ at stride 2.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, same: bool = False) -> None:
        self.same = same and kernel > 1 and stride > 1
        super().__init__(c_in, c_out, kernel, stride, padding=0 if self.same else kernel // 2, bias=False)
        self.ready: Tensor | None = None
        """The standardised kernel, while somebody keeps it for several passes."""

    def standardised(self) -> Tensor:
        # A layer norm of each flattened kernel is the fused form of (w - mean) / sqrt(var + eps).
        rows = self.weight.flatten(1)
        return F.layer_norm(rows, rows.shape[1:], eps=STANDARD_EPS).view_as(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        kernel = self.standardised() if self.ready is None else self.ready
        cpu = prefers_channels_last(input)
        if cpu and self.kernel_size == (1, 1):
            return self._pointwise(input, kernel)
        if self.same:
            input = pad_same(input, self.kernel_size[0], self.stride[0])
        if cpu and input[0, 0].numel() < self.in_channels:
            input = input.contiguous()  # more weights than pixels: there channels-last is slower by up to a half
        return self._conv_forward(input, kernel, None)

    def _pointwise(self, x_BCHW: Tensor, kernel: Tensor) -> Tensor:
        """In channels-last memory a 1x1 convolution is one matrix product, which torch's CPU convolutions are not."""
        x_BCHW = x_BCHW[:, :, :: self.stride[0], :: self.stride[1]]
        return F.linear(x_BCHW.permute(0, 2, 3, 1), kernel.flatten(1)).permute(0, 3, 1, 2)


class KernelsOnce:
    """Standardises every kernel of a model once for several forward and backward passes.

    Between ``open`` and ``close`` the passes see leaves that gather gradients; ``close`` takes these through the
    standardisation in one pass, which gives the gradients of ``weight`` that each pass by itself would have added.
    Without gradients (evaluation) there is nothing to take.
    """

    def __init__(self, model: nn.Module) -> None:
        self.convs = [m for m in model.modules() if isinstance(m, StdConv)]
        self.made: list[Tensor] = []

    def open(self) -> None:
        self.made = [conv.standardised() for conv in self.convs]
        for conv, kernel in zip(self.convs, self.made, strict=True):
            conv.ready = kernel.detach().requires_grad_(kernel.requires_grad)

    def close(self) -> None:
        """Harmless when nothing is open."""
        gathered = [conv.ready.grad if conv.ready is not None else None for conv in self.convs]
        pairs = [(made, grad) for made, grad in zip(self.made, gathered, strict=False) if grad is not None]
        if pairs:
            torch.autograd.backward([made for made, _ in pairs], [grad for _, grad in pairs])
        for conv in self.convs:
            conv.ready = None
        self.made = []

    def __enter__(self) -> None:
        self.open()

    def __exit__(self, *_: object) -> None:
        self.close()


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
        y = F.relu(self.norm1(x), inplace=True)
        shortcut = x if self.project is None else self.project(y)
        y = self.conv1(y)
        y = self.conv2(F.relu(self.norm2(y), inplace=True))
        return self.conv3(F.relu(self.norm3(y), inplace=True)) + shortcut


class PostUnit(nn.Module):
    """ResNet-V1 bottleneck with a norm on the projection, as in the paper's hybrids."""

    def __init__(self, c_in: int, middle: int, stride: int, groups: int) -> None:
        super().__init__()
        out = 4 * middle
        self.conv1, self.norm1 = StdConv(c_in, middle, 1), norm(middle, groups)
        self.conv2, self.norm2 = StdConv(middle, middle, 3, stride, same=True), norm(middle, groups)
        self.conv3, self.norm3 = StdConv(middle, out, 1), norm(out, groups)
        self.project = self.project_norm = None
        if c_in != out or stride > 1:
            self.project, self.project_norm = StdConv(c_in, out, 1, stride), norm(out, groups)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.project is not None and self.project_norm is not None:
            shortcut = self.project_norm(self.project(x))
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = F.relu(self.norm2(self.conv2(y)), inplace=True)
        return F.relu(self.norm3(self.conv3(y)) + shortcut, inplace=True)


class SamePool(nn.Module):
    """3x3/2 max-pool with the border of the paper's hybrids."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return F.max_pool2d(pad_same(x_BCHW, 3, 2, float("-inf")), 3, 2)


class Backbone(nn.Module):
    """Root and stages: images (B, C, H, W) to a feature map (B, ``channels``, side, side)."""

    def __init__(self, arch: ResNet | Hybrid, channels: int) -> None:
        super().__init__()
        width, post = stem_width(arch), isinstance(arch, Hybrid)
        imagenet = arch.root is Root.imagenet
        kernel, stride = (7, 2) if imagenet else (3, arch.root.stride)
        self.root = StdConv(channels, width, kernel, stride, same=post)
        self.root_norm = norm(width, arch.groups) if post else None
        self.pool: nn.Module = nn.Identity()
        if imagenet:
            # BiT pads with zeros before the pool, not inside it (differs for negative values).
            self.pool = SamePool() if post else nn.Sequential(nn.ConstantPad2d(1, 0.0), nn.MaxPool2d(3, 2))
        unit = PostUnit if post else PreUnit
        shapes = units(arch)
        self.recompute = False
        self.units = nn.Sequential(*(unit(c_in, middle, stride, arch.groups) for c_in, middle, _, stride in shapes))
        self.channels = shapes[-1][2] if shapes else width

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if prefers_channels_last(x_BCHW):
            x_BCHW = x_BCHW.contiguous(memory_format=torch.channels_last)
        x_BCHW = self.root(x_BCHW)
        if self.root_norm is not None:
            x_BCHW = F.relu(self.root_norm(x_BCHW), inplace=True)
        x_BCHW = self.pool(x_BCHW)
        for unit in self.units:
            x_BCHW = checkpoint(unit, x_BCHW, use_reentrant=False) if self.recompute else unit(x_BCHW)
        return x_BCHW


class BiTResNet(nn.Module):
    """Backbone, final norm, ReLU, mean over the map, head. It has no dropout, as in BiT."""

    def __init__(self, arch: ResNet, channels: int, classes: int) -> None:
        super().__init__()
        self.backbone = Backbone(arch, channels)
        self.norm = norm(self.backbone.channels, arch.groups)
        self.head = nn.Linear(self.backbone.channels, classes)

    def features(self, x_BCHW: Tensor) -> Tensor:
        """Images to representations (B, D): what the head sees."""
        return F.relu(self.norm(self.backbone(x_BCHW)), inplace=True).mean((2, 3))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.features(x_BCHW))
