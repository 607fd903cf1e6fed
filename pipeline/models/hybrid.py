"""Hybrid (arXiv 2010.11929, section 3.1): a ResNet's feature map, as 1x1 patches, into a ViT encoder.

Suffixes: B batch, C channels, H height, W width.
"""

from torch import Tensor, nn

from pipeline.arch import Hybrid
from pipeline.models.resnet import Backbone
from pipeline.models.vit import Encoder


class HybridTransformer(nn.Module):
    """Convolutional stem, one token per pixel of its feature map, encoder, head."""

    def __init__(self, arch: Hybrid, image_size: int, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.stem = Backbone(arch, channels)
        self.embed = nn.Conv2d(self.stem.channels, arch.width, 1)
        self.encoder = Encoder(arch, arch.tokens(image_size), dropout)
        self.head = nn.Linear(arch.width, classes)

    def features(self, x_BCHW: Tensor) -> Tensor:
        """Images to representations (B, D): what the head sees."""
        return self.encoder(self.embed(self.stem(x_BCHW)).flatten(2).transpose(1, 2))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.features(x_BCHW))
