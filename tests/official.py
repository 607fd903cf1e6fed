"""Checkpoints as the official programs keep them, and what they compute, from the published layouts and code alone.

Nothing of Crossover is imported here: arrays are numpy under the files' own keys, with kernels HWIO and (in, out), and
the forward passes are those of google-research/vision_transformer, big_vision and big_transfer, in double precision.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Arrays = dict[str, np.ndarray]
POSITIONS = {"original": "Transformer/posembed_input/pos_embedding", "big_vision": "pos_embedding"}
NUMBERS = {"original": (1, 2, 3), "big_vision": (0, 1, 0)}
"""Of attention, second norm and MLP in a block."""
GROUPS = 32


class Filler:
    """Random arrays under a prefix; norms near one, kernels that keep the scale of what passes."""

    def __init__(self, prefix: str, seed: int) -> None:
        self.prefix, self.dice, self.arrays = prefix, np.random.default_rng(seed), Arrays()

    def __call__(self, key: str, *shape: int) -> None:
        values = self.dice.standard_normal(shape)
        if key.endswith(("kernel", "embedding", "cls")):
            values *= math.prod(shape[:-1]) ** -0.5
        else:
            values = 0.2 * values + key.endswith(("scale", "gamma"))
        self.arrays[self.prefix + key] = values.astype(np.float32)

    def pair(self, key: str, *shape: int) -> None:
        """Kernel and bias."""
        self(f"{key}/kernel", *shape)
        self(f"{key}/bias", shape[-1])


@dataclass
class Vit:
    """A ViT, or with ``stem`` (units per stage) a hybrid, in one dialect."""

    dialect: str = "original"
    prefix: str = ""
    patch: int = 4
    width: int = 8
    heads: int = 2
    mlp: int = 16
    depth: int = 2
    grid: tuple[int, int] = (3, 3)
    classes: int = 5
    cls: bool = True
    folded: bool = False
    """Positions are added before the class token."""
    pre_logits: bool = False
    stem: tuple[int, ...] | None = None
    stem_width: int = 32

    def arrays(self, seed: int = 0) -> Arrays:
        put, d = Filler(self.prefix, seed), self.width
        c_in = 3 if self.stem is None else self._stem(put, self.stem)
        put.pair("embedding", self.patch, self.patch, c_in, d)
        tokens = math.prod(self.grid) + (self.cls and not self.folded)
        put(POSITIONS[self.dialect], 1, tokens, d)
        if self.cls:
            put("cls", 1, 1, d)
        for i in range(self.depth):
            self._block(put, f"Transformer/encoderblock_{i}")
        put("Transformer/encoder_norm/scale", d)
        put("Transformer/encoder_norm/bias", d)
        if self.pre_logits:
            put.pair("pre_logits", d, d)
        put.pair("head", d, self.classes)
        return put.arrays

    def _block(self, put: Filler, at: str) -> None:
        d, h, (attention, second, mlp) = self.width, self.heads, NUMBERS[self.dialect]
        for number in (0, second):
            put(f"{at}/LayerNorm_{number}/scale", d)
            put(f"{at}/LayerNorm_{number}/bias", d)
        for part in ("query", "key", "value"):
            put(f"{at}/MultiHeadDotProductAttention_{attention}/{part}/kernel", d, h, d // h)
            put(f"{at}/MultiHeadDotProductAttention_{attention}/{part}/bias", h, d // h)
        put(f"{at}/MultiHeadDotProductAttention_{attention}/out/kernel", h, d // h, d)
        put(f"{at}/MultiHeadDotProductAttention_{attention}/out/bias", d)
        put.pair(f"{at}/MlpBlock_{mlp}/Dense_0", d, self.mlp)
        put.pair(f"{at}/MlpBlock_{mlp}/Dense_1", self.mlp, d)

    def _stem(self, put: Filler, depths: tuple[int, ...]) -> int:
        """Returns the channels of the feature map."""
        c_in = self.stem_width
        put("conv_root/kernel", 7, 7, 3, c_in)
        _norm(put, "gn_root", c_in)
        for stage, depth in enumerate(depths):
            middle = self.stem_width * 2**stage
            for unit in range(depth):
                at, out = f"block{stage + 1}/unit{unit + 1}", 4 * middle
                for i, shape in enumerate([(1, 1, c_in, middle), (3, 3, middle, middle), (1, 1, middle, out)], 1):
                    put(f"{at}/conv{i}/kernel", *shape)
                    _norm(put, f"{at}/gn{i}", shape[-1])
                if unit == 0:
                    put(f"{at}/conv_proj/kernel", 1, 1, c_in, out)
                    _norm(put, f"{at}/gn_proj", out)
                c_in = out
        return c_in

    def logits(self, arrays: Arrays, images: Tensor) -> Tensor:
        """Of images (B, C, H, W)."""
        get = _getter(arrays, self.prefix)
        x = images.double()
        if self.stem is not None:
            x = self._stem_forward(get, x, self.stem)
        x = F.conv2d(x, get("embedding/kernel").permute(3, 2, 0, 1), get("embedding/bias"), stride=self.patch)
        x, positions = x.flatten(2).transpose(1, 2), get(POSITIONS[self.dialect])
        x = x + positions if self.folded or not self.cls else x
        if self.cls:
            x = torch.cat([get("cls").expand(len(x), -1, -1), x], 1)
            x = x if self.folded else x + positions
        for i in range(self.depth):
            x = self._block_forward(get, x, f"Transformer/encoderblock_{i}")
        x = _layer_norm(get, x, "Transformer/encoder_norm")
        x = x[:, 0] if self.cls else x.mean(1)
        if self.pre_logits:
            x = torch.tanh(x @ get("pre_logits/kernel") + get("pre_logits/bias"))
        return x @ get("head/kernel") + get("head/bias")

    def _block_forward(self, get: Callable[[str], Tensor], x: Tensor, at: str) -> Tensor:
        attention, second, mlp = NUMBERS[self.dialect]
        y = _layer_norm(get, x, f"{at}/LayerNorm_0")
        here = f"{at}/MultiHeadDotProductAttention_{attention}"
        q, k, v = (
            torch.einsum("btd,dhe->bthe", y, get(f"{here}/{part}/kernel")) + get(f"{here}/{part}/bias")
            for part in ("query", "key", "value")
        )
        weights = (torch.einsum("bqhe,bkhe->bhqk", q, k) * q.shape[-1] ** -0.5).softmax(-1)
        y = torch.einsum("bhqk,bkhe->bqhe", weights, v)
        x = x + torch.einsum("bqhe,hed->bqd", y, get(f"{here}/out/kernel")) + get(f"{here}/out/bias")
        y = _layer_norm(get, x, f"{at}/LayerNorm_{second}")
        dense = f"{at}/MlpBlock_{mlp}/Dense"
        y = F.gelu(y @ get(f"{dense}_0/kernel") + get(f"{dense}_0/bias"))
        return x + y @ get(f"{dense}_1/kernel") + get(f"{dense}_1/bias")

    def _stem_forward(self, get: Callable[[str], Tensor], x: Tensor, depths: tuple[int, ...]) -> Tensor:
        x = _group_norm(get, _same_conv(x, get("conv_root/kernel"), 2), "gn_root", "scale", "bias").relu()
        x = F.max_pool2d(_pad_same(x, 3, 2, -math.inf), 3, 2)
        for stage, depth in enumerate(depths):
            for unit in range(depth):
                at, stride = f"block{stage + 1}/unit{unit + 1}", 2 if stage and unit == 0 else 1
                residual, y = x, x
                if unit == 0:
                    residual = _same_conv(x, get(f"{at}/conv_proj/kernel"), stride)
                    residual = _group_norm(get, residual, f"{at}/gn_proj", "scale", "bias")
                for i in (1, 2, 3):
                    y = _same_conv(y, get(f"{at}/conv{i}/kernel"), stride if i == 2 else 1)
                    y = _group_norm(get, y, f"{at}/gn{i}", "scale", "bias")
                    y = y.relu() if i < 3 else y
                x = (residual + y).relu()
        return x


@dataclass
class Bit:
    """A BiT ResNet; layers may carry numbers, as in some files."""

    depths: tuple[int, ...] = (1, 2)
    width: int = 32
    classes: int = 5

    def arrays(self, seed: int = 0) -> Arrays:
        put, c_in = Filler("resnet/", seed), self.width
        put("root_block/standardized_conv2d/kernel", 7, 7, 3, c_in)
        for stage, depth in enumerate(self.depths):
            middle = self.width * 2**stage
            for unit in range(depth):
                at, out = f"block{stage + 1}/unit{unit + 1:02d}", 4 * middle
                for part, shape in zip(
                    "abc", [(1, 1, c_in, middle), (3, 3, middle, middle), (1, 1, middle, out)], strict=True
                ):
                    put(f"{at}/{part}/standardized_conv2d/kernel", *shape)
                    put(f"{at}/{part}/group_norm/gamma", shape[2])
                    put(f"{at}/{part}/group_norm/beta", shape[2])
                if unit == 0:
                    put(f"{at}/a/proj/standardized_conv2d/kernel", 1, 1, c_in, out)
                c_in = out
        put("group_norm/gamma", c_in)
        put("group_norm/beta", c_in)
        put.pair("head/conv2d", 1, 1, c_in, self.classes)
        return put.arrays

    def logits(self, arrays: Arrays, images: Tensor) -> Tensor:
        get = _getter(arrays, "resnet/")
        x = F.conv2d(
            F.pad(images.double(), (3,) * 4), _standard(get("root_block/standardized_conv2d/kernel")), stride=2
        )
        x = F.max_pool2d(F.pad(x, (1,) * 4), 3, 2)
        for stage, depth in enumerate(self.depths):
            for unit in range(depth):
                at, stride = f"block{stage + 1}/unit{unit + 1:02d}", 2 if stage and unit == 0 else 1
                residual, y = x, x
                for part in "abc":
                    y = _group_norm(get, y, f"{at}/{part}/group_norm", "gamma", "beta").relu()
                    if part == "a" and unit == 0:
                        residual = F.conv2d(y, _standard(get(f"{at}/a/proj/standardized_conv2d/kernel")), stride=stride)
                    kernel, step = get(f"{at}/{part}/standardized_conv2d/kernel"), stride if part == "b" else 1
                    y = F.conv2d(F.pad(y, (len(kernel) // 2,) * 4), _standard(kernel), stride=step)
                x = y + residual
        x = _group_norm(get, x, "group_norm", "gamma", "beta").relu().mean((2, 3))
        return x @ get("head/conv2d/kernel")[0, 0] + get("head/conv2d/bias")


def numbered(arrays: Arrays) -> Arrays:
    """With a running number on every layer, as TensorFlow leaves it."""
    layers = {key.rsplit("/", 1)[0]: None for key in arrays}
    number = {layer: i for i, layer in enumerate(layers)}
    return {
        key if number[key.rsplit("/", 1)[0]] == 0 else f"{layer}_{number[layer]}/{last}": value
        for key, value in arrays.items()
        for layer, last in [key.rsplit("/", 1)]
    }


def scanned(arrays: Arrays, depth: int, prefix: str) -> Arrays:
    """Blocks stacked over depth, as big_vision trains them by scan."""
    first, made = f"{prefix}Transformer/encoderblock_0/", Arrays()
    for key, value in arrays.items():
        if "encoderblock_" not in key:
            made[key] = value
        elif key.startswith(first):
            part = key.removeprefix(first)
            layers = [arrays[f"{prefix}Transformer/encoderblock_{i}/{part}"] for i in range(depth)]
            made[f"{prefix}Transformer/encoderblock/{part}"] = np.stack(layers)
    return made


def _norm(put: Filler, key: str, channels: int) -> None:
    put(f"{key}/scale", channels)
    put(f"{key}/bias", channels)


def _getter(arrays: Arrays, prefix: str) -> Callable[[str], Tensor]:
    return lambda key: torch.from_numpy(arrays[prefix + key]).double()


def _layer_norm(get: Callable[[str], Tensor], x: Tensor, at: str) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], get(f"{at}/scale"), get(f"{at}/bias"), eps=1e-6)


def _group_norm(get: Callable[[str], Tensor], x: Tensor, at: str, scale: str, bias: str) -> Tensor:
    return F.group_norm(x, GROUPS, get(f"{at}/{scale}").flatten(), get(f"{at}/{bias}").flatten(), eps=1e-5)


def _standard(kernel_HWIO: Tensor) -> Tensor:
    """OIHW, with zero mean and unit deviation for each output channel."""
    centred = kernel_HWIO - kernel_HWIO.mean((0, 1, 2))
    return (centred / centred.square().mean((0, 1, 2)).sqrt()).permute(3, 2, 0, 1)


def _pad_same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    extra = [max(0, (math.ceil(side / stride) - 1) * stride + kernel - side) for side in x.shape[2:]]
    return F.pad(x, [n for e in reversed(extra) for n in (e // 2, e - e // 2)], value=value)


def _same_conv(x: Tensor, kernel_HWIO: Tensor, stride: int) -> Tensor:
    return F.conv2d(_pad_same(x, len(kernel_HWIO), stride), _standard(kernel_HWIO), stride=stride)
