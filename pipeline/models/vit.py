"""ViT (arXiv 2010.11929, section 3.1): pre-norm encoder on patch tokens.

Suffixes: B batch, C channels, H height, W width, T tokens, D model width, N heads, K classes.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pipeline.arch import Hybrid, Pool, ViT, hidden
from pipeline.models.chance import Chance, Dropout, DropPath

EPS = 1e-6


@dataclass
class Regularisation:
    """What acts inside an encoder while it trains; ``drop_path`` is the last block's."""

    dropout: float = 0.0
    drop_path: float = 0.0
    chance: Chance = field(default_factory=Chance)


class Attention(nn.Module):
    """Multi-head self-attention through the fused kernel."""

    def __init__(self, width: int, heads: int, noise: Regularisation) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.dropout = Dropout(noise.dropout, noise.chance)

    def forward(self, x_BTD: Tensor) -> Tensor:
        b, t, d = x_BTD.shape
        q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in self.qkv(x_BTD).chunk(3, dim=-1))
        y_BTD = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, d)
        return self.dropout(self.out(y_BTD))


class Block(nn.Module):
    """Attention and MLP, each after its norm and added to the residual stream."""

    def __init__(self, width: int, heads: int, mlp: int, noise: Regularisation) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attention = Attention(width, heads, noise)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp),
            nn.GELU(),
            Dropout(noise.dropout, noise.chance),
            nn.Linear(mlp, width),
            Dropout(noise.dropout, noise.chance),
        )
        self.skip1, self.skip2 = (DropPath(noise.drop_path, noise.chance) for _ in range(2))

    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTD = x_BTD + self.skip1(self.attention(self.norm1(x_BTD)))
        return x_BTD + self.skip2(self.mlp(self.norm2(x_BTD)))


class Encoder(nn.Module):
    """Class token, learned positions, blocks, final norm, pooling; shared by ViT and Hybrid.

    Dropout follows every dense layer except the qkv projection, and the position embeddings (appendix B.1).
    """

    def __init__(self, arch: ViT | Hybrid, tokens: int, noise: Regularisation) -> None:
        super().__init__()
        self.pool = arch.pool
        self.recompute = False
        if arch.pool is Pool.cls:
            self.cls = nn.Parameter(torch.zeros(1, 1, arch.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens, arch.width))
        self.dropout = Dropout(noise.dropout, noise.chance)
        rates = [noise.drop_path * i / max(1, arch.depth - 1) for i in range(arch.depth)]
        each = [Regularisation(noise.dropout, rate, noise.chance) for rate in rates]
        self.blocks = nn.ModuleList(Block(arch.width, arch.heads, hidden(arch), one) for one in each)
        self.norm = nn.LayerNorm(arch.width, eps=EPS)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Patch tokens to one representation (B, D)."""
        if self.pool is Pool.cls:
            x_BTD = torch.cat([self.cls.expand(len(x_BTD), -1, -1), x_BTD], dim=1)
        x_BTD = self.dropout(x_BTD + self.pos_embed)
        for block in self.blocks:
            x_BTD = checkpoint(block, x_BTD, use_reentrant=False) if self.recompute else block(x_BTD)
        if self.pool is Pool.cls:
            return self.norm(x_BTD[:, 0])  # token by token, so the others need no norm
        return self.norm(x_BTD).mean(1)


def pre_logits(arch: ViT | Hybrid) -> nn.Module:
    """The hidden layer of the pre-training head, or nothing."""
    return nn.Sequential(nn.Linear(arch.width, arch.width), nn.Tanh()) if arch.pre_logits else nn.Identity()


class VisionTransformer(nn.Module):
    """Patch embedding, encoder, head."""

    def __init__(self, arch: ViT, image_size: int, channels: int, classes: int, noise: Regularisation) -> None:
        super().__init__()
        self.chance = noise.chance
        self.embed = nn.Conv2d(channels, arch.width, arch.patch, stride=arch.patch)
        self.encoder = Encoder(arch, arch.tokens(image_size), noise)
        self.pre_logits = pre_logits(arch)
        self.head = nn.Linear(arch.width, classes)

    def features(self, x_BCHW: Tensor) -> Tensor:
        """Images to representations (B, D): what the head sees."""
        return self.pre_logits(self.encoder(self.embed(x_BCHW).flatten(2).transpose(1, 2)))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.features(x_BCHW))
