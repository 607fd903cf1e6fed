"""Layouts: how other programs, and this one, name and shape the weights of the paper's models."""

from collections.abc import Mapping

from torch import Tensor

from pipeline.arch import Arch, ResNet
from pipeline.errors import BadInput
from pipeline.models.layouts import bit_npz, own, timm_state, vit_npz
from pipeline.models.layouts.layout import Layout
from pipeline.models.positions import Grid

LAYOUTS: dict[str, Layout] = {
    "original": vit_npz.VitNpz(),
    "augreg": vit_npz.AUGREG,
    "big_vision": vit_npz.BIG_VISION,
    "big_vision_scanned": vit_npz.SCANNED,
    "bit": bit_npz.BitNpz(),
    "timm": timm_state.TimmState(),
    "crossover": own.Own(),
}
"""Those that are written, by the name of ``--to``."""


def detect(arrays: Mapping[str, Tensor], where: str, grid: Grid | None = None) -> Layout:
    """The layout of a file's arrays. ``grid`` is that of its positions, where known. Raises BadInput when they are of
    none."""
    found = own.find(arrays) or bit_npz.find(arrays) or vit_npz.find(arrays, grid) or timm_state.find(arrays)
    if found:
        return found
    some = ", ".join(sorted(arrays)[:3]) or "none"
    raise BadInput(f"{where} is no checkpoint of a known layout ({', '.join(LAYOUTS)}): its keys are {some} ...")


def usual(suffix: str, arch: Arch) -> str:
    """Name of the layout that a file with this suffix is meant to have."""
    if suffix == ".npz":
        return "bit" if isinstance(arch, ResNet) else "original"
    return "timm" if suffix in (".pth", ".pt", ".bin") else "crossover"


__all__ = ["LAYOUTS", "Layout", "detect", "usual"]
