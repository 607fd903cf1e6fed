"""Build: an Arch as a module, initialised from its own generator, never the global one."""

import torch
from torch import nn

from pipeline.arch import Arch, External, Hybrid, ResNet, ViT
from pipeline.models import external
from pipeline.models.hybrid import HybridTransformer
from pipeline.models.resnet import Backbone, BiTResNet, StdConv
from pipeline.models.vit import Encoder, Regularisation, VisionTransformer


def build(
    arch: Arch,
    image_size: int,
    channels: int,
    classes: int,
    seed: int,
    dropout: float = 0.0,
    drop_path: float = 0.0,
    head_bias: float = 0.0,
) -> nn.Module:
    """A model with ``forward(x) -> logits``, ``features(x) -> representation`` and ``head``.

    The same seed gives the same weights in any process, and the global generator is left as it was. ``dropout`` and
    ``drop_path`` act in transformer blocks only; the ResNets have none. Raises BadInput for a shape the images do not
    fit.
    """
    arch.check(image_size)
    if isinstance(arch, External):
        return external.make(arch, image_size, channels, classes, seed, head_bias)
    noise = Regularisation(dropout, drop_path)
    with torch.random.fork_rng(devices=[]):  # torch's layers draw first weights of their own, which are replaced
        model = _module(arch, image_size, channels, classes, noise)
    initialise(model, seed)
    nn.init.constant_(model.head.bias, head_bias)  # type: ignore[arg-type, union-attr]
    return model


def _module(arch: Arch, image_size: int, channels: int, classes: int, noise: Regularisation) -> nn.Module:
    if isinstance(arch, ViT):
        return VisionTransformer(arch, image_size, channels, classes, noise)
    if isinstance(arch, ResNet):
        return BiTResNet(arch, channels, classes)
    if isinstance(arch, Hybrid):
        return HybridTransformer(arch, image_size, channels, classes, noise)
    raise TypeError(f"no module for {type(arch).__name__}")


def recompute_activations(model: nn.Module) -> None:
    """Keep only what enters each block or unit, and compute the rest again on the way back: less memory, more time."""
    for module in model.modules():
        if isinstance(module, Encoder | Backbone):
            module.recompute = True


def reset_head(model: nn.Module, classes: int) -> None:
    """A fresh zero head, as at fine-tuning: both linear layers of the old one go (arXiv 2010.11929, section 3.2)."""
    old = model.head
    assert isinstance(old, nn.Linear)
    if isinstance(getattr(model, "pre_logits", None), nn.Sequential):
        model.pre_logits = nn.Identity()
    with torch.random.fork_rng(devices=[]):
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
            # Query, key and value are three kernels in the paper's code; as one, their bound would be sqrt(2) less.
            for kernel in module.weight.chunk(3 if name.endswith(".qkv") else 1):
                nn.init.xavier_uniform_(kernel, generator=generator)
            nn.init.zeros_(module.bias)
            if ".mlp." in name:
                nn.init.normal_(module.bias, std=1e-6, generator=generator)
        elif isinstance(module, Encoder):
            nn.init.normal_(module.pos_embed, std=0.02, generator=generator)
    nn.init.zeros_(model.head.weight)  # type: ignore[arg-type, union-attr]
    nn.init.zeros_(model.head.bias)  # type: ignore[arg-type, union-attr]
