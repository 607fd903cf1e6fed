"""ViT and hybrid as google-research/vision_transformer (original, AugReg) and big_vision keep them, in .npz.

Kernels are HWIO and (in, out); attention keeps its heads as an axis. big_vision numbers its sub-modules otherwise, has
positions at the root, adds them before the class token, and stacks the blocks over depth when it was trained by scan.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from math import isqrt

from torch import Tensor

from pipeline.arch import Arch, Hybrid, Pool, ViT
from pipeline.errors import BadInput
from pipeline.models.layouts.entry import Entry, attention, dense, folded_positions, kernel, norm, same, stacked
from pipeline.models.layouts.layout import places, projected, transformer
from pipeline.models.positions import Grid

ORIGINAL = "Transformer/posembed_input/pos_embedding"
POSITIONS = ("pos_embedding", "Transformer/pos_embedding", ORIGINAL)
"""Where big_vision has kept them, the present place first."""


@dataclass(frozen=True)
class VitNpz:
    name: str = "original"
    prefix: str = ""
    big_vision: bool = False
    """Its numbers of sub-modules."""
    positions: str = ORIGINAL
    folded: bool = False
    """The class token's position is part of the token."""
    scanned: bool = False
    pre_logits: bool = True
    """Whether this kind of file has that layer."""
    suffixes: tuple[str, ...] = (".npz",)

    def entries(self, arch: Arch, names: Collection[str]) -> Iterator[Entry]:
        arch = transformer(self.name, arch)
        at = self.prefix
        if isinstance(arch, Hybrid):
            yield from self._stem(arch, names)
        yield kernel("embed", f"{at}embedding")
        yield same("embed.bias", f"{at}embedding/bias")
        yield from self._positions(arch)
        yield from self._blocks(arch)
        yield from norm("encoder.norm", f"{at}Transformer/encoder_norm", "scale", "bias")
        if arch.pre_logits:
            if not self.pre_logits:
                raise BadInput(
                    f"The {self.name} layout has no pre_logits: use --to original, or drop it with --head zero."
                )
            yield from dense("pre_logits.0", f"{at}pre_logits")
        yield from dense("head", f"{at}head")

    def _positions(self, arch: ViT | Hybrid) -> Iterator[Entry]:
        positions = self.prefix + self.positions
        if arch.pool is Pool.cls and self.folded:
            yield folded_positions(f"{self.prefix}cls", positions)
            return
        if arch.pool is Pool.cls:
            yield same("encoder.cls", f"{self.prefix}cls")
        yield same("encoder.pos_embed", positions)

    def _blocks(self, arch: ViT | Hybrid) -> Iterator[Entry]:
        if self.scanned:
            yield from stacked(self._block(arch, i, "encoderblock") for i in range(arch.depth))
            return
        for i in range(arch.depth):
            yield from self._block(arch, i, f"encoderblock_{i}")

    def _block(self, arch: ViT | Hybrid, index: int, name: str) -> Iterator[Entry]:
        ours, theirs = f"encoder.blocks.{index}", f"{self.prefix}Transformer/{name}"
        heads_at, norm_at, mlp_at = (0, 1, 0) if self.big_vision else (1, 2, 3)
        yield from norm(f"{ours}.norm1", f"{theirs}/LayerNorm_0", "scale", "bias")
        yield from attention(f"{ours}.attention", f"{theirs}/MultiHeadDotProductAttention_{heads_at}", arch.heads)
        yield from norm(f"{ours}.norm2", f"{theirs}/LayerNorm_{norm_at}", "scale", "bias")
        yield from dense(f"{ours}.mlp.0", f"{theirs}/MlpBlock_{mlp_at}/Dense_0")
        yield from dense(f"{ours}.mlp.3", f"{theirs}/MlpBlock_{mlp_at}/Dense_1")

    def _stem(self, arch: Hybrid, names: Collection[str]) -> Iterator[Entry]:
        at = self.prefix
        yield kernel("stem.root", f"{at}conv_root")
        yield from norm("stem.root_norm", f"{at}gn_root", "scale", "bias")
        for index, stage, unit in places(arch):
            ours, theirs = f"stem.units.{index}", f"{at}block{stage + 1}/unit{unit + 1}"
            for i in (1, 2, 3):
                yield kernel(f"{ours}.conv{i}", f"{theirs}/conv{i}")
                yield from norm(f"{ours}.norm{i}", f"{theirs}/gn{i}", "scale", "bias")
            if projected(names, ours):
                yield kernel(f"{ours}.project", f"{theirs}/conv_proj")
                yield from norm(f"{ours}.project_norm", f"{theirs}/gn_proj", "scale", "bias")


AUGREG = VitNpz("augreg", pre_logits=False)
BIG_VISION = VitNpz("big_vision", "params/", big_vision=True, positions=POSITIONS[0], folded=True)
SCANNED = replace(BIG_VISION, name="big_vision_scanned", scanned=True)


def find(arrays: Mapping[str, Tensor], grid: Grid | None = None) -> VitNpz | None:
    """The dialect of a file, or None when it is no ViT of this kind; ``grid`` is its positions', where known."""
    for prefix in ("opt/target/", "params/img/", "params/", ""):
        if any(f"{prefix}{key}" in arrays for key in ("embedding/kernel", *POSITIONS)):
            break
    else:
        return None
    scanned = f"{prefix}Transformer/encoderblock/LayerNorm_0/scale" in arrays
    at_root = f"{prefix}pos_embedding" in arrays
    newer = scanned or at_root or f"{prefix}Transformer/encoderblock_0/LayerNorm_1/scale" in arrays
    if not newer:
        return VitNpz(prefix=prefix)
    positions = next((key for key in POSITIONS if f"{prefix}{key}" in arrays), POSITIONS[0])
    folded = not _has_class_entry(arrays.get(f"{prefix}{positions}"), grid)
    return VitNpz("big_vision", prefix, big_vision=True, positions=positions, folded=folded, scanned=scanned)


def _has_class_entry(positions: Tensor | None, grid: Grid | None) -> bool:
    """Files from before big_vision folded it: the grid and one more. Without a grid the official code's own test."""
    rows = positions.shape[-2] if positions is not None and positions.ndim >= 2 else 0
    if grid:
        return rows == grid[0] * grid[1] + 1
    return rows > 1 and isqrt(rows - 1) ** 2 == rows - 1 and isqrt(rows) ** 2 != rows
