"""External: any torch module, from timm or from the user's own package, with counted parameters and FLOPs.

No closed form exists, so counts come from the module itself. ``pipeline.models.external`` installs the counter when
it is imported; nothing here knows torch.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from pipeline.arch.base import Arch, require_image
from pipeline.errors import BadInput


class Counts(NamedTuple):
    params: int
    flops: int
    """Forward, of one image."""


@dataclass
class External(Arch):
    """What is common to modules made elsewhere."""

    counter: ClassVar[Callable[["External", int, int, int], Counts] | None] = None
    """(arch, image size, channels, classes) to counts."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Further keyword arguments of its constructor."""
    compare_as: str = field(default="", metadata={"label": True})
    """Family under which laws and reports compare it; a name, never part of a Trial."""

    def check(self, image_size: int) -> None:
        require_image(image_size)

    def params(self, image_size: int, channels: int, classes: int) -> int:
        return self._counts(image_size, channels, classes).params

    def flops(self, image_size: int, channels: int, classes: int, padding: bool = True) -> int:
        """Counted. Raises ValueError for ``padding=False``: taps outside the image cannot be told in general."""
        if not padding:
            raise ValueError("an external module has no padding-excluded count")
        return self._counts(image_size, channels, classes).flops

    def _counts(self, image_size: int, channels: int, classes: int) -> Counts:
        if External.counter is None:
            raise RuntimeError("import pipeline.models.external before counting an external module")
        return External.counter(self, image_size, channels, classes)


@dataclass
class Timm(External):
    """A model of the timm library, by its name there."""

    kind: ClassVar[str] = "timm"
    name: str = ""

    @property
    def family(self) -> str:
        """The name up to its first size, version kept: convnext, resnetv2, swin."""
        found = re.match(r"[a-z]+(v\d+)?", self.name)
        return self.compare_as or (found[0] if found else self.kind)

    def check(self, image_size: int) -> None:
        super().check(image_size)
        if not self.name:
            raise BadInput("arch=timm needs a model: give arch.name, for example arch.name=convnext_atto.")


@dataclass
class Module(External):
    """A class or function of the user: called with image_size, channels, classes and ``arguments``, it returns an
    ``nn.Module`` that turns images (B, C, H, W) in [-1, 1] into logits (B, classes)."""

    kind: ClassVar[str] = "module"
    target: str = ""
    """Import path: package.module.Class."""

    @property
    def family(self) -> str:
        return self.compare_as or self.target.rpartition(".")[2].lower() or self.kind

    def check(self, image_size: int) -> None:
        super().check(image_size)
        if "." not in self.target:
            raise BadInput(
                f"arch=module needs the import path of a class, not {self.target!r}: give arch.target=package.Class."
            )
