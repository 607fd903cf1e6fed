"""Layout: the names and shapes under which one program keeps the weights of an Arch."""

from collections.abc import Collection, Iterator
from typing import Protocol

from pipeline.arch import Arch, Hybrid, ResNet, Root, ViT
from pipeline.errors import BadInput
from pipeline.models.layouts.entry import Entry

HEAD = ("head", "pre_logits")
"""How the keys of both layers of a head begin, here and in every layout (after its prefix)."""

GROUPS = 32
"""Of every GroupNorm, in the paper's code and in timm."""


class Layout(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the files it is written to, the usual one first."""
        ...

    @property
    def prefix(self) -> str:
        """Of the model's keys; what lies outside it (optimiser, text tower) is not the model's."""
        ...

    def entries(self, arch: Arch, names: Collection[str]) -> Iterator[Entry]:
        """One for every parameter in ``names``. Raises BadInput for an Arch that the layout cannot express."""
        ...


def transformer(layout: str, arch: Arch) -> ViT | Hybrid:
    if isinstance(arch, ViT | Hybrid):
        official_backbone(layout, arch)
        return arch
    raise BadInput(f"The {layout} layout holds ViTs and hybrids, not arch={arch.kind}.")


def official_backbone(layout: str, arch: ViT | Hybrid | ResNet) -> None:
    """Other programs fix what their files do not say."""
    if not isinstance(arch, ViT) and (arch.root is not Root.imagenet or arch.groups != GROUPS):
        raise BadInput(
            f"The {layout} layout knows one root and {GROUPS} groups, not arch.root={arch.root.name} "
            f"arch.groups={arch.groups}: use --to crossover."
        )


def places(arch: Hybrid | ResNet) -> list[tuple[int, int, int]]:
    """(our index, stage, unit in the stage) of every unit, all from 0."""
    pairs = [(stage, unit) for stage, depth in enumerate(arch.depths) for unit in range(depth)]
    return [(index, stage, unit) for index, (stage, unit) in enumerate(pairs)]


def projected(names: Collection[str], unit: str) -> bool:
    """Whether the shortcut of this unit of ours has a kernel."""
    return f"{unit}.project.weight" in names
