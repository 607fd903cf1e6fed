"""Modules: they compute what the papers say and start the same everywhere."""

import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from pipeline.arch import Arch, Hybrid, Pool, ResNet, Root, ViT
from pipeline.errors import BadInput
from pipeline.models.build import build, reset_head
from pipeline.models.resnet import PostUnit, PreUnit, StdConv
from pipeline.models.vit import Block, Regularisation

SMALL: dict[str, Arch] = {
    "vit": ViT(patch=4, depth=2, width=16, heads=2),
    "vit_mean": ViT(patch=4, depth=2, width=16, heads=2, pool=Pool.mean),
    "resnet": ResNet([1, 2], 4, Root.small, 4),
    "resnet_root": ResNet([1, 1], 4, Root.imagenet, 4),
    "hybrid": Hybrid([1, 1], 4, Root.half, 4, depth=2, width=16, heads=2),
    "hybrid_root": Hybrid([1, 1], 4, Root.imagenet, 4, depth=1, width=16, heads=2, pool=Pool.mean),
}
pytestmark = pytest.mark.usefixtures("one_thread")
EVERY = pytest.mark.parametrize("name", SMALL)


def make(name: str, seed: int = 0, dropout: float = 0.0, channels: int = 3) -> Any:
    return build(SMALL[name], 16, channels, 5, seed, dropout)


def images(count: int = 4, channels: int = 3, size: int = 16, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed))


@EVERY
def test_logits_are_the_head_of_the_features_and_start_at_zero(name: str) -> None:
    model, x = make(name), images()
    features = model.features(x)
    assert features.shape == (4, model.head.in_features)
    assert isinstance(model.head, nn.Linear)
    assert torch.equal(model(x), torch.zeros(4, 5))
    nn.init.normal_(model.head.weight)
    assert torch.equal(model(x), model.head(features))
    reset_head(model, 7)
    assert torch.equal(model(x), torch.zeros(4, 7))
    assert torch.equal(model.features(x), features)


@EVERY
def test_an_image_is_judged_by_itself(name: str) -> None:
    """Neither norms nor standardisation look across the batch, so evaluation needs no statistics."""
    model, x = make(name), images()
    torch.testing.assert_close(model.features(x)[2:3], model.features(x[2:3]), rtol=1e-4, atol=1e-5)


@EVERY
def test_the_seed_alone_fixes_the_weights(name: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = make(name).state_dict()
    assert torch.equal(torch.get_rng_state(), before), "the global generator was used"
    torch.manual_seed(2)
    second, other = make(name).state_dict(), make(name, seed=1).state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert any(not torch.equal(first[k], other[k]) for k in first)


def test_another_process_starts_from_the_same_weights() -> None:
    code = (
        "import torch; from pipeline.arch import *; from pipeline.models.build import build; torch.manual_seed(9);"
        "archs = [ViT(4, 2, 16, 2), ResNet([1], 4, Root.small, 4), Hybrid([1], 4, Root.half, 4, 1, 16, 2)];"
        "models = [build(a, 16, 3, 5, 0) for a in archs];"
        "import hashlib; data = [v.numpy().tobytes() for m in models for v in m.state_dict().values()];"
        "result = hashlib.sha256(b''.join(data)).hexdigest(); print(result)"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    with torch.random.fork_rng(devices=[]):
        here: dict[str, Any] = {}
        exec(code, here)
    assert made.stdout.strip() == here["result"]


@EVERY
def test_weights_start_as_in_the_papers_code(name: str) -> None:
    for key, value in make(name).state_dict().items():
        if "norm" in key:
            assert torch.equal(value, torch.full_like(value, key.endswith("weight"))), key
        elif key.endswith("cls") or key.startswith("head") or (key.endswith("bias") and ".mlp." not in key):
            assert not value.any(), key
        elif ".mlp." in key and key.endswith("bias"):
            assert 0 < value.abs().max() < 1e-5, key
        elif "attention" in key or ".mlp." in key:
            wide = value.shape[0] // (3 if ".qkv." in key else 1)
            bound = (6 / (wide + value.shape[1])) ** 0.5
            assert 0.9 * bound < value.abs().max() <= bound, key
        elif key.endswith("pos_embed"):
            assert value.std() == pytest.approx(0.02, rel=0.25), key


@EVERY
def test_every_parameter_learns(name: str) -> None:
    """A few steps fit eight images, and no parameter is left without a gradient."""
    model, x, y = make(name), images(8), torch.arange(8) % 5
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.0)
    losses = []
    for _ in range(50):
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(torch.tensor(5.0).log().item())
    assert losses[-1] < 0.25
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


@EVERY
def test_dropout_draws_from_the_global_generator_in_training_only(name: str) -> None:
    model, x = make(name, dropout=0.5), images()
    draws = sum(isinstance(m, nn.Dropout) for m in model.modules()) > 0
    assert draws == ("resnet" not in name)
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = model.features(x)
    assert torch.equal(torch.get_rng_state(), state) != draws
    torch.manual_seed(3)
    assert torch.equal(model.features(x), first)
    model.eval()
    state = torch.get_rng_state()
    torch.testing.assert_close(model.features(x), make(name).features(x), rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_follows_every_dense_layer_but_the_qkv_projection() -> None:
    """Appendix B.1: after the positions, the attention's output and both layers of the MLP."""
    model, shapes = make("vit", dropout=0.5), []
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            assert module.p == 0.5
            module.register_forward_hook(lambda _, inputs, output: shapes.append(tuple(output.shape)))
    model(images(1))
    stream, hidden = (1, 17, 16), (1, 17, 64)
    assert shapes == [stream, *[stream, hidden, stream] * 2]


def test_a_block_is_torchs_pre_norm_encoder_layer() -> None:
    block = Block(16, 4, 64, Regularisation())
    layer = nn.TransformerEncoderLayer(
        16, 4, 64, 0.0, activation="gelu", layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    weights = layer.state_dict()
    names = {
        "attention.qkv.": "self_attn.in_proj_",
        "attention.out.": "self_attn.out_proj.",
        "mlp.0.": "linear1.",
        "mlp.3.": "linear2.",
        "norm1.": "norm1.",
        "norm2.": "norm2.",
    }
    block.load_state_dict({o + k: weights[t + k] for o, t in names.items() for k in ("weight", "bias")})
    x = torch.randn(2, 9, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block(x), layer(x))


def standardised(weight: Tensor) -> Tensor:
    """BiT: zero mean, unit (biased) variance for each output channel, 1e-10 inside the root."""
    flat = weight.detach().flatten(1)
    flat = (flat - flat.mean(1, keepdim=True)) / (flat.var(1, unbiased=False, keepdim=True) + 1e-10).sqrt()
    return flat.view_as(weight)


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 2), (7, 2)])
def test_convolutions_standardise_their_kernels(kernel: int, stride: int) -> None:
    conv, x = StdConv(6, 8, kernel, stride), images(2, 6)
    expected = F.conv2d(x, standardised(conv.weight), None, stride, kernel // 2)
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        conv.weight.mul_(3).add_(1)
    torch.testing.assert_close(conv(x), expected, rtol=1e-4, atol=1e-4)


def test_the_gradient_passes_through_the_standardisation() -> None:
    conv = StdConv(2, 3, 3).double()
    x = images(1, 2, 4).double()
    assert torch.autograd.gradcheck(lambda w: torch.func.functional_call(conv, {"weight": w}, (x,)), conv.weight)


@pytest.mark.parametrize(("c_in", "stride"), [(16, 1), (12, 1), (16, 2)])
def test_the_hybrids_unit_is_torchvisions_bottleneck(c_in: int, stride: int) -> None:
    """Post-activation, stride on the 3x3, a norm on the projection; kernels standardised beforehand."""
    unit = PostUnit(c_in, 4, stride, 4)
    norm = partial(nn.GroupNorm, 4)
    project = nn.Sequential(nn.Conv2d(c_in, 16, 1, stride, bias=False), norm(16)) if unit.project else None
    theirs: Any = Bottleneck(c_in, 4, stride, project, norm_layer=norm)
    if stride == 2:  # the paper's code pads the odd pixel at the end
        theirs.conv2 = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(4, 4, 3, 2, bias=False))
    with torch.no_grad():
        for i in (1, 2, 3):
            (kernel,) = getattr(theirs, f"conv{i}").parameters()
            kernel.copy_(standardised(getattr(unit, f"conv{i}").weight))
            for affine in (getattr(unit, f"norm{i}"), getattr(theirs, f"bn{i}")):
                affine.bias.copy_(torch.linspace(-1, 1, len(affine.bias)))
        if unit.project is not None:
            theirs.downsample[0].weight.copy_(standardised(unit.project.weight))
    x = images(2, c_in)
    torch.testing.assert_close(unit(x), theirs(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("c_in", "stride"), [(16, 1), (12, 1), (16, 2)])
def test_the_resnets_unit_is_pre_activated(c_in: int, stride: int) -> None:
    """BiT: norm and ReLU before each convolution; the projection sees the activated input, the identity the raw one."""
    unit, x = PreUnit(c_in, 4, stride, 4), images(2, c_in)
    active = F.relu(F.group_norm(x, 4))
    y = F.conv2d(active, standardised(unit.conv1.weight))
    y = F.conv2d(F.relu(F.group_norm(y, 4)), standardised(unit.conv2.weight), None, stride, 1)
    y = F.conv2d(F.relu(F.group_norm(y, 4)), standardised(unit.conv3.weight))
    shortcut = x
    if unit.project is not None:
        shortcut = F.conv2d(active, standardised(unit.project.weight), None, stride)
    torch.testing.assert_close(unit(x), y + shortcut, rtol=1e-4, atol=1e-4)
    assert (unit.project is None) == (c_in == 16 and stride == 1)


def test_the_root_pads_with_zeros_before_its_pool() -> None:
    """The official border: max-pooling's own padding would ignore it where all values are negative."""
    pool = make("resnet_root").backbone.pool
    assert torch.equal(pool(torch.full((1, 1, 4, 4), -1.0))[0, 0], torch.tensor([[0.0, 0.0], [0.0, -1.0]]))


def test_groups_are_as_many_as_divide_the_channels() -> None:
    model: Any = build(ResNet([1], 6, Root.small, 32), 8, 3, 2, 0)
    assert [m.num_groups for m in model.modules() if isinstance(m, nn.GroupNorm)] == [2, 2, 2, 8]


def test_a_resnet_computes_the_same_in_either_memory_format() -> None:
    model, x = make("resnet"), images()
    assert torch.equal(model.features(x), model.features(x.contiguous(memory_format=torch.channels_last)))
    assert all(p.is_contiguous() for p in model.parameters())


def test_positions_and_class_token_reach_the_representation() -> None:
    """Without positions a ViT with mean pooling could not tell an image from its shuffled patches."""
    model, x = make("vit_mean"), images(1)
    moved = x.roll(4, dims=-1)
    with torch.no_grad():
        assert not torch.allclose(model.features(x), model.features(moved), atol=1e-3)
        model.encoder.pos_embed.zero_()
        torch.testing.assert_close(model.features(x), model.features(moved), rtol=1e-4, atol=1e-5)


@EVERY
def test_grey_images_and_bfloat16(name: str) -> None:
    model, x = make(name, channels=1), images(2, channels=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = model.features(x)
    full = model.features(x)
    assert (low.float() - full).norm() / full.norm() < 0.1


def test_build_refuses_what_check_refuses() -> None:
    class Free(Arch):
        def check(self, image_size: int) -> None:
            pass

    with pytest.raises(BadInput, match="does not divide"):
        build(ViT(patch=5), 16, 3, 2, 0)
    with pytest.raises(TypeError, match="no module for Free"):
        build(Free(), 16, 3, 2, 0)
