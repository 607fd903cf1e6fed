"""BiT ResNets as google-research/big_transfer keeps them, in .npz: units a, b, c of norm and kernel, from 01."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from pipeline.arch import Arch, ResNet
from pipeline.errors import BadInput
from pipeline.models.layouts.entry import Entry, kernel, norm, one, same
from pipeline.models.layouts.layout import official_backbone, places, projected

CONV = "standardized_conv2d"
NUMBERED = re.compile(r"(standardized_conv2d|group_norm|conv2d)_\d+(?=/)")
"""Some files count their layers: standardized_conv2d_17."""


@dataclass(frozen=True)
class BitNpz:
    name: str = "bit"
    prefix: str = "resnet/"
    suffixes: tuple[str, ...] = (".npz",)

    def entries(self, arch: Arch, names: Collection[str]) -> Iterator[Entry]:
        if not isinstance(arch, ResNet):
            raise BadInput(f"The bit layout holds ResNets, not arch={arch.kind}.")
        official_backbone(self.name, arch)
        at = self.prefix
        yield kernel("backbone.root", f"{at}root_block/{CONV}")
        for index, stage, unit in places(arch):
            ours, theirs = f"backbone.units.{index}", f"{at}block{stage + 1}/unit{unit + 1:02d}"
            for i, part in enumerate("abc", start=1):
                yield from norm(f"{ours}.norm{i}", f"{theirs}/{part}/group_norm", "gamma", "beta")
                yield kernel(f"{ours}.conv{i}", f"{theirs}/{part}/{CONV}")
            if projected(names, ours):
                yield kernel(f"{ours}.project", f"{theirs}/a/proj/{CONV}")
        yield from norm("norm", f"{at}group_norm", "gamma", "beta")
        # The head is a 1x1 convolution there: (1, 1, in, out).
        yield one("head.weight", f"{at}head/conv2d/kernel", lambda w: w.t()[None, None], lambda a: a[0, 0].t())
        yield same("head.bias", f"{at}head/conv2d/bias")


def plain(key: str) -> str:
    """The key without the numbers of its layers."""
    return NUMBERED.sub(r"\1", key)


def find(arrays: Mapping[str, Tensor]) -> BitNpz | None:
    return BitNpz() if any(key.startswith("resnet/") for key in arrays) else None
