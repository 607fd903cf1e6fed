"""Arch: the base of all families, and the checks they share."""

from dataclasses import dataclass
from typing import ClassVar

from pipeline.errors import BadInput


@dataclass
class Arch:
    """Base of all families."""

    kind: ClassVar[str] = ""
    """Name of the class in config, and in ``recipe.lr_family``."""

    @property
    def family(self) -> str:
        """What laws and reports compare."""
        return self.kind

    def check(self, image_size: int) -> None:
        """Raises BadInput when this shape cannot take images of that size."""
        raise NotImplementedError

    def params(self, image_size: int, channels: int, classes: int) -> int:
        """Trainable parameters; ``classes=0`` leaves the head out."""
        raise NotImplementedError

    def flops(self, image_size: int, channels: int, classes: int, padding: bool = True) -> int:
        """Forward FLOPs of one image; ``padding=False`` leaves out kernel taps that fall outside the image."""
        raise NotImplementedError


def require_positive(arch: Arch, *names: str) -> None:
    for name in names:
        if not getattr(arch, name) > 0:
            raise BadInput(f"arch.{name} must be positive, not {getattr(arch, name)}.")


def require_image(size: int) -> None:
    if size < 1:
        raise BadInput(f"An image needs at least one pixel: image_size must be positive, not {size}.")
