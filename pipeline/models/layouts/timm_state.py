"""timm's VisionTransformer, its hybrids (HybridEmbed on a ResNetV2 with preact=False) and its BiT ResNetV2.

A model that timm itself built has its own names, whatever it is.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from pipeline.arch import Arch, Hybrid, Pool, ResNet, Timm, ViT
from pipeline.errors import BadInput
from pipeline.models.layouts.entry import Entry, one, same
from pipeline.models.layouts.layout import official_backbone, places, projected

BLOCK = {
    "norm1": "norm1",
    "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj",
    "norm2": "norm2",
    "mlp.0": "mlp.fc1",
    "mlp.3": "mlp.fc2",
}


@dataclass(frozen=True)
class TimmState:
    name: str = "timm"
    prefix: str = ""
    suffixes: tuple[str, ...] = (".safetensors", ".pth", ".pt", ".bin")

    def entries(self, arch: Arch, names: Collection[str]) -> Iterator[Entry]:
        if isinstance(arch, Timm):
            yield from (same(name, name.removeprefix("body.")) for name in names)
            return
        if isinstance(arch, ResNet):
            yield from _resnet(arch, names)
            return
        if not isinstance(arch, ViT | Hybrid):
            raise BadInput(f"The timm layout holds the paper's models and timm's own, not arch={arch.kind}.")
        official_backbone(self.name, arch)
        if arch.pre_logits:
            raise BadInput("timm dropped the pre_logits layer: use another layout, or drop it too with --head zero.")
        if isinstance(arch, Hybrid):
            yield from _stem(arch, names)
        yield from _both("embed", "patch_embed.proj")
        if arch.pool is Pool.cls:
            yield same("encoder.cls", "cls_token")
        yield same("encoder.pos_embed", "pos_embed")
        for i in range(arch.depth):
            for ours, theirs in BLOCK.items():
                yield from _both(f"encoder.blocks.{i}.{ours}", f"blocks.{i}.{theirs}")
        yield from _both("encoder.norm", "norm")
        yield from _both("head", "head")


def _both(ours: str, theirs: str) -> Iterator[Entry]:
    yield same(f"{ours}.weight", f"{theirs}.weight")
    yield same(f"{ours}.bias", f"{theirs}.bias")


def _resnet(arch: ResNet, names: Collection[str]) -> Iterator[Entry]:
    official_backbone("timm", arch)
    yield same("backbone.root.weight", "stem.conv.weight")
    yield from _units(arch, names, "backbone", "stages")
    yield from _both("norm", "norm")
    # The head is a 1x1 convolution there: (out, in, 1, 1).
    yield one("head.weight", "head.fc.weight", lambda w: w[:, :, None, None], lambda a: a[:, :, 0, 0])
    yield same("head.bias", "head.fc.bias")


def _stem(arch: Hybrid, names: Collection[str]) -> Iterator[Entry]:
    at = "patch_embed.backbone"
    root = f"{at}.stem" if arch.depths else at
    yield same("stem.root.weight", f"{root}.conv.weight")
    yield from _both("stem.root_norm", f"{root}.norm")
    yield from _units(arch, names, "stem", f"{at}.stages")


def _units(arch: Hybrid | ResNet, names: Collection[str], ours: str, theirs: str) -> Iterator[Entry]:
    for index, stage, number in places(arch):
        unit, block = f"{ours}.units.{index}", f"{theirs}.{stage}.blocks.{number}"
        for i in (1, 2, 3):
            yield same(f"{unit}.conv{i}.weight", f"{block}.conv{i}.weight")
            yield from _both(f"{unit}.norm{i}", f"{block}.norm{i}")
        if projected(names, unit):
            yield same(f"{unit}.project.weight", f"{block}.downsample.conv.weight")
            if isinstance(arch, Hybrid):
                yield from _both(f"{unit}.project_norm", f"{block}.downsample.norm")


def find(arrays: Mapping[str, Tensor]) -> TimmState | None:
    known = (
        "patch_embed.proj.weight",
        "stem.conv.weight",
        "blocks.0.attn.qkv.weight",
        "stages.0.blocks.0.conv1.weight",
    )
    return TimmState() if any(key in arrays for key in known) else None
