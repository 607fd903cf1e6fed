"""Hybrid (arXiv 2010.11929, section 3.1): patches of a ResNet's feature map, of one pixel mostly, into an encoder.

Suffixes: B batch, C channels, H height, W width.
"""

from torch import Tensor, nn

from pipeline.arch import Hybrid
from pipeline.models.resnet import Backbone
from pipeline.models.vit import Encoder, Regularisation, pre_logits


class HybridTransformer(nn.Module):
    """Convolutional stem, one token per patch of its feature map, encoder, head."""

    def __init__(self, arch: Hybrid, image_size: int, channels: int, classes: int, noise: Regularisation) -> None:
        super().__init__()
        self.chance = noise.chance
        self.stem = Backbone(arch, channels)
        self.embed = nn.Conv2d(self.stem.channels, arch.width, arch.patch, stride=arch.patch)
        self.encoder = Encoder(arch, arch.tokens(image_size), noise)
        self.pre_logits = pre_logits(arch)
        self.head = nn.Linear(arch.width, classes)

    def features(self, x_BCHW: Tensor) -> Tensor:
        """Images to representations (B, D): what the head sees."""
        return self.pre_logits(self.encoder(self.embed(self.stem(x_BCHW)).flatten(2).transpose(1, 2)))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.features(x_BCHW))
