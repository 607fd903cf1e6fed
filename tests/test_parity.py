"""Parity with timm: same weights in, same logits and gradients out, both ways and through the official .npz layouts."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.arch import Arch, Hybrid, Pool, ResNet, ViT
from pipeline.models.build import build
from pipeline.models.checkpoint import load_checkpoint, write_checkpoint
from pipeline.models.layouts import LAYOUTS
from pipeline.models.layouts.match import match
from pipeline.models.layouts.own import Description
from pipeline.models.resnet import STANDARD_EPS

timm = pytest.importorskip("timm", reason="parity needs timm: pip install 'crossover[timm]'")

from timm.layers.hybrid_embed import HybridEmbed  # noqa: E402
from timm.layers.std_conv import StdConv2d, StdConv2dSame  # noqa: E402
from timm.models.resnetv2 import ResNetV2, create_resnetv2_stem  # noqa: E402
from timm.models.vision_transformer import VisionTransformer  # noqa: E402

Case = tuple[Arch, int, Callable[..., Any]]
"""(our Arch, image size, timm's model)."""
TINY = {"embed_dim": 32, "depth": 2, "num_heads": 4, "num_classes": 7}
CLASSES = 7


def vit(patch: int, depth: int, width: int, heads: int, **values: Any) -> ViT:
    return ViT(patch=patch, depth=depth, width=width, heads=heads, **values)


def tiny(name: str, size: int = 64, **values: Any) -> Callable[[], Any]:
    return lambda: timm.create_model(name, img_size=size, **{**TINY, **values})


def bit(layers: list[int], factor: float) -> ResNetV2:
    """timm's BiT, narrower and shallower than its entries."""
    conv = partial(StdConv2d, eps=1e-8)
    return ResNetV2(layers=layers, num_classes=CLASSES, stem_type="fixed", conv_layer=conv, width_factor=factor)  # type: ignore[arg-type]


def hybrid(layers: list[int], factor: float, size: int, patch: int = 1) -> VisionTransformer:
    """timm's hybrid, as its ``_resnetv2`` makes it, with a narrower stem."""
    conv = partial(StdConv2dSame, eps=1e-8)
    made: dict[str, Any] = {"stem_type": "same", "preact": False, "conv_layer": conv}
    if layers:
        backbone = ResNetV2(layers, num_classes=0, global_pool="", width_factor=factor, **made)  # type: ignore[arg-type]
    else:
        backbone = create_resnetv2_stem(3, int(64 * factor), **made)
    embed = partial(HybridEmbed, backbone=backbone)
    return VisionTransformer(img_size=size, patch_size=patch, embed_layer=embed, **TINY)  # type: ignore[arg-type]


FAST: dict[str, Case] = {
    "vit_b16": (vit(16, 2, 32, 4), 64, tiny("vit_base_patch16_224")),
    "vit_l32": (vit(32, 2, 32, 4), 96, tiny("vit_large_patch32_224", 96)),
    "vit_mean": (
        vit(16, 2, 32, 4, pool=Pool.mean),
        64,
        tiny("vit_base_patch16_224", global_pool="avg", class_token=False, fc_norm=False),
    ),
    "bit_50x1": (ResNet([2, 2, 1, 1], 32), 64, lambda: bit([2, 2, 1, 1], 0.5)),
    "bit_odd_size": (ResNet([1, 2], 32), 65, lambda: bit([1, 2], 0.5)),
    "r50_s16": (Hybrid([2, 1, 2], 32, depth=2, width=32, heads=4), 64, lambda: hybrid([2, 1, 2], 0.5, 64)),
    "r50_s32": (Hybrid([1, 2, 1, 1], 32, depth=2, width=32, heads=4), 96, lambda: hybrid([1, 2, 1, 1], 0.5, 96)),
    "r50_odd_size": (Hybrid([1, 1, 1], 32, depth=2, width=32, heads=4), 71, lambda: hybrid([1, 1, 1], 0.5, 71)),
    "r_s16_p8": (Hybrid([], 32, depth=2, width=32, heads=4, patch=8), 64, lambda: hybrid([], 0.5, 64, 8)),
}
SLOW: dict[str, Case] = {
    "vit_base_patch16_224": (vit(16, 12, 768, 12), 224, partial(timm.create_model, "vit_base_patch16_224")),
    "vit_large_patch32_224": (vit(32, 24, 1024, 16), 224, partial(timm.create_model, "vit_large_patch32_224")),
    "resnetv2_50x1_bit": (ResNet([3, 4, 6, 3]), 224, partial(timm.create_model, "resnetv2_50x1_bit")),
    "resnetv2_101x1_bit": (ResNet([3, 4, 23, 3]), 224, partial(timm.create_model, "resnetv2_101x1_bit")),
    "vit_base_r50_s16_224": (Hybrid([3, 4, 9]), 224, partial(timm.create_model, "vit_base_r50_s16_224")),
    "vit_large_r50_s32_224": (
        Hybrid([3, 4, 6, 3], depth=24, width=1024, heads=16),
        224,
        partial(timm.create_model, "vit_large_r50_s32_224"),
    ),
    "vit_tiny_r_s16_p8_224": (
        Hybrid([], depth=12, width=192, heads=3, patch=8),
        224,
        partial(timm.create_model, "vit_tiny_r_s16_p8_224"),
    ),
    "vit_small_r26_s32_224": (
        Hybrid([2, 2, 2, 2], depth=12, width=384, heads=6),
        224,
        partial(timm.create_model, "vit_small_r26_s32_224"),
    ),
}
pytestmark = pytest.mark.usefixtures("one_thread")
EACH = pytest.mark.parametrize("name", FAST)


def random_weights(model: nn.Module, seed: int = 0) -> None:
    """No parameter at its start value: zero heads and unit norms would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 1:
                p.copy_(("norm" in name and name.endswith("weight")) + 0.2 * torch.randn(p.shape, generator=generator))
            else:
                p.copy_(torch.randn(p.shape, generator=generator) * p[0].numel() ** -0.5)


def images(size: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def read(arrays: dict[str, Tensor], ours: nn.Module, arch: Arch) -> dict[str, Tensor]:
    """timm's tensors under our names; the reordering is linear, so it takes gradients too."""
    return match(arrays, LAYOUTS["timm"], arch, ours.state_dict(), "timm")


def pair(case: Case) -> tuple[nn.Module, nn.Module]:
    """timm's model with random weights, and ours with the same."""
    arch, size, make = case
    theirs = make().eval()
    random_weights(theirs)
    ours = build(arch, size, 3, CLASSES, seed=0)
    ours.load_state_dict(read(theirs.state_dict(), ours, arch))
    return theirs, ours


def gradients(model: nn.Module, x: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Of a random loss, with respect to every parameter."""
    model.zero_grad()
    (model(x) * weight).sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def assert_same_logits(theirs: nn.Module, ours: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        expected = theirs(x)
        assert expected.std() > 0.1
        torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-4)


def assert_same_gradients(arch: Arch, theirs: nn.Module, ours: nn.Module, x: Tensor) -> None:
    """Relative to the norm of each parameter's gradient. In double precision and with one epsilon of the standardised
    kernels, for a ReLU flipped by rounding would show."""
    for module in theirs.modules():
        if isinstance(module, StdConv2d | StdConv2dSame):
            setattr(module, "eps", STANDARD_EPS)  # noqa: B010
    theirs, ours, x = theirs.double(), ours.double(), x.double()
    weight = torch.randn(len(x), CLASSES, generator=torch.Generator().manual_seed(2)).to(x.dtype)
    wanted, found = read(gradients(theirs, x, weight), ours, arch), gradients(ours, x, weight)
    assert wanted.keys() == found.keys() == dict(ours.named_parameters()).keys()
    scale = max(g.norm() for g in wanted.values())  # the bias of a key has none at all
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() <= 1e-7 * (gradient.norm() + 1e-3 * scale), name


@EACH
def test_same_weights_give_the_same_logits(name: str) -> None:
    theirs, ours = pair(FAST[name])
    assert_same_logits(theirs, ours, images(FAST[name][1]))


@EACH
def test_same_weights_give_the_same_gradients(name: str) -> None:
    theirs, ours = pair(FAST[name])
    assert_same_gradients(FAST[name][0], theirs, ours, images(FAST[name][1]))


@EACH
def test_parameter_counts_agree(name: str) -> None:
    arch, size, make = FAST[name]
    assert sum(p.numel() for p in make().parameters()) == arch.params(size, 3, CLASSES)


@EACH
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_our_export_is_timms_state(name: str, suffix: str, tmp_path: Path) -> None:
    """Our weights, exported, and loaded by timm's own reader, strictly."""
    arch, size, make = FAST[name]
    ours = build(arch, size, 3, CLASSES, seed=0)
    random_weights(ours)
    write_checkpoint(tmp_path / f"x{suffix}", ours, Description(arch, size, 3, CLASSES), "timm")
    theirs = make().eval()
    timm.models.load_checkpoint(theirs, str(tmp_path / f"x{suffix}"), strict=True)
    assert_same_logits(theirs, ours, images(size))


@EACH
def test_through_the_official_npz(name: str, tmp_path: Path) -> None:
    """timm -> ours -> .npz -> timm's own importer."""
    arch, size, make = FAST[name]
    first, ours = pair(FAST[name])
    to = "bit" if isinstance(arch, ResNet) else "original"
    write_checkpoint(tmp_path / "x.npz", ours, Description(arch, size, 3, CLASSES), to)
    second = make().eval()
    second.load_pretrained(str(tmp_path / "x.npz"))
    assert first.state_dict().keys() == second.state_dict().keys()
    for key, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[key]), key


@pytest.mark.parametrize("layout", ["big_vision", "big_vision_scanned"])
@pytest.mark.parametrize("pool", list(Pool))
def test_big_vision_through_timms_importer(layout: str, pool: Pool, tmp_path: Path) -> None:
    """There the class token has no position of its own; timm calls that ``no_embed_class``."""
    arch = vit(16, 2, 32, 4, pool=pool)
    ours = build(arch, 64, 3, CLASSES, seed=0)
    random_weights(ours)
    write_checkpoint(tmp_path / "x.npz", ours, Description(arch, 64, 3, CLASSES), layout)
    values: dict[str, Any] = {"no_embed_class": True}
    if pool is Pool.mean:
        values = {"global_pool": "avg", "class_token": False, "fc_norm": False}
    theirs = tiny("vit_base_patch16_224", **values)().eval()
    theirs.load_pretrained(str(tmp_path / "x.npz"))
    with torch.no_grad():
        torch.testing.assert_close(ours(images(64)), theirs(images(64)), rtol=1e-4, atol=1e-4)


def test_timm_drops_pre_logits_and_we_keep_it(tmp_path: Path) -> None:
    arch = vit(16, 2, 32, 4, pre_logits=True)
    ours = build(arch, 64, 3, CLASSES, seed=0)
    random_weights(ours)
    write_checkpoint(tmp_path / "x.npz", ours, Description(arch, 64, 3, CLASSES), "original")
    assert "pre_logits/kernel" in np.load(tmp_path / "x.npz").files
    again: Any = load_checkpoint(tmp_path / "x.npz", arch, 64, 3, CLASSES)
    theirs = tiny("vit_base_patch16_224")().eval()
    theirs.load_pretrained(str(tmp_path / "x.npz"))
    with torch.no_grad():
        x = images(64)
        assert torch.equal(again(x), ours(x))
        body = theirs.forward_head(theirs.forward_features(x), pre_logits=True)
        torch.testing.assert_close(again.pre_logits(body), again.features(x), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(theirs(x), ours(x), atol=0.1), "timm's is another function"


def test_the_strides_of_the_hybrids() -> None:
    """R+Ti/16's root has stride 4 and its patches 8: one token every 32 pixels, whatever its name says."""
    names = {"vit_tiny_r_s16_p8_224": 32, "vit_small_r26_s32_224": 32, "vit_base_r50_s16_224": 16}
    for name, stride in names.items():
        arch, size, _ = SLOW[name]
        with torch.device("meta"):
            tokens = timm.create_model(name).pos_embed.shape[1]
        assert isinstance(arch, Hybrid)
        assert tokens == arch.tokens(size) == (size // stride) ** 2 + 1


@pytest.mark.parametrize("name", SLOW)
def test_full_size_parameter_counts_agree(name: str) -> None:
    arch, size, make = SLOW[name]
    with torch.device("meta"):
        assert sum(p.numel() for p in make(num_classes=CLASSES).parameters()) == arch.params(size, 3, CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_full_size_parity(name: str, tmp_path: Path) -> None:
    arch, size, make = SLOW[name]
    case: Case = (arch, size, partial(make, num_classes=CLASSES))
    theirs, ours = pair(case)
    assert_same_logits(theirs, ours, images(size, 1))
    to = "bit" if isinstance(arch, ResNet) else "original"
    write_checkpoint(tmp_path / "x.npz", ours, Description(arch, size, 3, CLASSES), to)
    again = case[2]().eval()
    again.load_pretrained(str(tmp_path / "x.npz"))
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in theirs.state_dict().items())
    assert_same_gradients(arch, theirs, ours, images(size, 1))
