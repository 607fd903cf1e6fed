"""Build: an Arch as a module, initialised from its own generator, never the global one."""

import torch
from torch import nn

from pipeline.arch import Arch, Hybrid, ResNet, ViT
from pipeline.models.hybrid import HybridTransformer
from pipeline.models.resnet import BiTResNet, StdConv
from pipeline.models.vit import Encoder, VisionTransformer


def build(arch: Arch, image_size: int, channels: int, classes: int, seed: int, dropout: float = 0.0) -> nn.Module:
    """A model with ``forward(x) -> logits``, ``features(x) -> representation`` and ``head``.

    The same seed gives the same weights in any process. Raises BadInput for a shape the images do not fit.
    """
    arch.check(image_size)
    if isinstance(arch, ViT):
        model: nn.Module = VisionTransformer(arch, image_size, channels, classes, dropout)
    elif isinstance(arch, ResNet):
        model = BiTResNet(arch, channels, classes)
    elif isinstance(arch, Hybrid):
        model = HybridTransformer(arch, image_size, channels, classes, dropout)
    else:
        raise TypeError(f"no module for {type(arch).__name__}")
    initialise(model, seed)
    return model


def reset_head(model: nn.Module, classes: int) -> None:
    """A fresh zero head, as at fine-tuning (arXiv 2010.11929, section 3.2)."""
    old = model.head
    assert isinstance(old, nn.Linear)
    model.head = nn.Linear(old.in_features, classes, device=old.weight.device)
    nn.init.zeros_(model.head.weight)
    nn.init.zeros_(model.head.bias)


@torch.no_grad()
def initialise(model: nn.Module, seed: int) -> None:
    """Dense kernels Xavier uniform, MLP biases N(0, 1e-6), positions N(0, 0.02), head zero (vit-paper code)."""
    generator = torch.Generator().manual_seed(seed)
    for name, module in model.named_modules():
        if isinstance(module, StdConv):
            nn.init.kaiming_normal_(module.weight, generator=generator)
        elif isinstance(module, nn.Conv2d):
            fan = module.weight[0].numel()
            nn.init.trunc_normal_(module.weight, std=fan**-0.5, generator=generator)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.Linear) and name != "head":
            nn.init.xavier_uniform_(module.weight, generator=generator)
            nn.init.zeros_(module.bias)
            if ".mlp." in name:
                nn.init.normal_(module.bias, std=1e-6, generator=generator)
        elif isinstance(module, Encoder):
            nn.init.normal_(module.pos_embed, std=0.02, generator=generator)
    nn.init.zeros_(model.head.weight)  # type: ignore[arg-type, union-attr]
    nn.init.zeros_(model.head.bias)  # type: ignore[arg-type, union-attr]
