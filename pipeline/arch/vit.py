"""ViT: an encoder on square patches."""

from dataclasses import dataclass, field
from typing import ClassVar

from pipeline.arch.base import Arch, require_image, require_positive
from pipeline.arch.encoder import Pool, check_encoder, encoder_flops, encoder_params
from pipeline.errors import BadInput


@dataclass
class ViT(Arch):
    """Pre-norm encoder on square patches (arXiv 2010.11929, section 3.1)."""

    kind: ClassVar[str] = "vit"
    patch: int = 16
    depth: int = 12
    width: int = 768
    heads: int = 12
    mlp_ratio: float = 4.0
    pool: Pool = Pool.cls
    pre_logits: bool = field(default=False, metadata={"neutral": False})
    """A hidden layer with tanh before the head while pre-training (section 3.1); fine-tuning drops it."""

    def check(self, image_size: int) -> None:
        require_positive(self, "patch", "depth", "width", "heads")
        require_image(image_size)
        if image_size % self.patch:
            raise BadInput(
                f"A patch of {self.patch} px does not divide an image of {image_size} px: choose arch.patch among "
                f"the divisors of {image_size}."
            )
        check_encoder(self)

    def tokens(self, image_size: int) -> int:
        return (image_size // self.patch) ** 2 + (self.pool is Pool.cls)

    def params(self, image_size: int, channels: int, classes: int) -> int:
        embed = self.patch**2 * channels * self.width + self.width
        return embed + encoder_params(self, self.tokens(image_size), classes)

    def flops(self, image_size: int, channels: int, classes: int, padding: bool = True) -> int:
        patches = (image_size // self.patch) ** 2
        embed = 2 * patches * self.patch**2 * channels * self.width
        return embed + encoder_flops(self, self.tokens(image_size), classes)
