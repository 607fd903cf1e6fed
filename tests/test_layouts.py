"""Layouts: files as the official programs write them become models that compute the same, and go back unchanged."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from official import Arrays, Bit, Vit, numbered, scanned
from torch import Tensor, nn

from pipeline.arch import Arch, Hybrid, Pool, ResNet, Root, ViT
from pipeline.errors import BadInput
from pipeline.models.build import build
from pipeline.models.checkpoint import load_checkpoint, open_checkpoint, write_checkpoint
from pipeline.models.layouts import LAYOUTS
from pipeline.models.layouts.own import Description

VITS = {
    "original": Vit(),
    "pre_logits": Vit(pre_logits=True, prefix="opt/target/"),
    "augreg": Vit(depth=1, heads=4),
    "mean": Vit(cls=False),
    "big_vision": Vit("big_vision", "params/", folded=True),
    "big_vision_mean": Vit("big_vision", "params/", cls=False, folded=True),
    "image_tower": Vit("big_vision", "params/img/", folded=True),
    "bare": Vit("big_vision", "", folded=True),
    "older_big_vision": Vit("big_vision", "params/"),
    "r50": Vit(stem=(2, 1), patch=1),
    "r_only": Vit(stem=(), patch=2),
    "r50_target": Vit(stem=(1, 1), patch=1, prefix="opt/target/", pre_logits=True),
}
BITS = {"bit": Bit(), "bit_deep": Bit((2, 1, 1))}


def arch_of(spec: Vit | Bit) -> Arch:
    if isinstance(spec, Bit):
        return ResNet(list(spec.depths), spec.width)
    shape: dict[str, Any] = {
        "patch": spec.patch,
        "depth": spec.depth,
        "width": spec.width,
        "heads": spec.heads,
        "mlp_ratio": spec.mlp / spec.width,
        "pool": Pool.cls if spec.cls else Pool.mean,
        "pre_logits": spec.pre_logits,
    }
    return ViT(**shape) if spec.stem is None else Hybrid(list(spec.stem), spec.stem_width, **shape)


def size_of(spec: Vit | Bit) -> int:
    if isinstance(spec, Bit):
        return 33
    stride = 1 if spec.stem is None else 4 * 2 ** max(0, len(spec.stem) - 1)
    return spec.grid[0] * spec.patch * stride


def images(size: int, width: int = 0) -> Tensor:
    return torch.randn(2, 3, size, width or size, generator=torch.Generator().manual_seed(0))


def save(path: Path, arrays: Arrays) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


def assert_computes(spec: Vit | Bit, arrays: Arrays, model: nn.Module) -> None:
    x = images(size_of(spec))
    with torch.no_grad():
        torch.testing.assert_close(model.double()(x.double()), spec.logits(arrays, x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", [*VITS, *BITS])
def test_an_official_file_computes_what_it_did(name: str, tmp_path: Path) -> None:
    spec = (VITS | BITS)[name]
    arrays = spec.arrays()
    assert spec.logits(arrays, images(size_of(spec))).std() > 0.1
    path = save(tmp_path / "x.npz", arrays)
    assert_computes(spec, arrays, load_checkpoint(path, arch_of(spec), size_of(spec), 3, 5))


@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("original", "original"),
        ("augreg", "augreg"),
        ("mean", "original"),
        ("big_vision", "big_vision"),
        ("big_vision_mean", "big_vision"),
        ("r50", "original"),
        ("r_only", "augreg"),
        ("bit", "bit"),
        ("bit_deep", "bit"),
    ],
)
def test_a_file_goes_back_unchanged(name: str, to: str, tmp_path: Path) -> None:
    """Key by key and bit by bit."""
    spec = (VITS | BITS)[name]
    arch, size, arrays = arch_of(spec), size_of(spec), spec.arrays()
    model = load_checkpoint(save(tmp_path / "x.npz", arrays), arch, size, 3, 5)
    write_checkpoint(tmp_path / "y.npz", model, Description(arch, size, 3, 5), to)
    written = np.load(tmp_path / "y.npz")
    assert sorted(written.files) == sorted(arrays)
    for key, value in arrays.items():
        np.testing.assert_array_equal(written[key], value, err_msg=key)


def test_blocks_stacked_over_depth(tmp_path: Path) -> None:
    spec = VITS["big_vision"]
    arrays = spec.arrays()
    stacked = scanned(arrays, spec.depth, spec.prefix)
    model = load_checkpoint(save(tmp_path / "x.npz", stacked), arch_of(spec), size_of(spec), 3, 5)
    assert_computes(spec, arrays, model)
    write_checkpoint(
        tmp_path / "y.npz", model.float(), Description(arch_of(spec), size_of(spec), 3, 5), "big_vision_scanned"
    )
    written = np.load(tmp_path / "y.npz")
    assert sorted(written.files) == sorted(stacked)
    assert all(np.array_equal(written[key], stacked[key]) for key in stacked)
    deeper = arch_of(Vit("big_vision", depth=3))
    with pytest.raises(BadInput, match=r"params/Transformer/encoderblock/.* has the shape \(2, .*but \(3, "):
        load_checkpoint(tmp_path / "x.npz", deeper, size_of(spec), 3, 5)


def test_norms_of_four_axes(tmp_path: Path) -> None:
    """GroupNorm arrays of (1, 1, 1, C), as the hybrids' files have them."""
    for spec in (VITS["r50"], BITS["bit"]):
        arrays = spec.arrays()
        wide = {k: v[None, None, None] if "gn" in k or "group_norm" in k else v for k, v in arrays.items()}
        assert any(v.shape[:3] == (1, 1, 1) for v in wide.values())
        model = load_checkpoint(save(tmp_path / "x.npz", wide), arch_of(spec), size_of(spec), 3, 5)
        assert_computes(spec, arrays, model)


def test_numbered_layers(tmp_path: Path) -> None:
    spec = BITS["bit_deep"]
    arrays = spec.arrays()
    counted = numbered(arrays)
    assert "resnet/block1/unit01/a/standardized_conv2d_1/kernel" in counted
    assert_computes(spec, arrays, load_checkpoint(save(tmp_path / "x.npz", counted), arch_of(spec), 33, 3, 5))
    counted["resnet/block1/unit01/a/standardized_conv2d_99/kernel"] = np.zeros(1)
    with pytest.raises(BadInput, match="alike but for a number"):
        open_checkpoint(save(tmp_path / "x.npz", counted))


@pytest.mark.parametrize("key", ["Transformer/pos_embedding", "Transformer/posembed_input/pos_embedding"])
@pytest.mark.parametrize("folded", [False, True])
def test_where_big_vision_kept_positions_before(key: str, folded: bool, tmp_path: Path) -> None:
    spec = Vit("big_vision", "params/", folded=folded)
    arrays = spec.arrays()
    older = {k if k != "params/pos_embedding" else f"params/{key}": v for k, v in arrays.items()}
    assert_computes(spec, arrays, load_checkpoint(save(tmp_path / "x.npz", older), arch_of(spec), 12, 3, 5))


def test_what_lies_beside_the_model_is_left_alone(tmp_path: Path) -> None:
    """The optimiser and the text tower."""
    for name, other in [("pre_logits", "opt/state/step"), ("image_tower", "params/txt/head/bias"), ("bit", "step")]:
        spec = (VITS | BITS)[name]
        arrays = {**spec.arrays(), other: np.zeros(3)}
        model = load_checkpoint(save(tmp_path / "x.npz", arrays), arch_of(spec), size_of(spec), 3, 5)
        assert_computes(spec, arrays, model)


@pytest.mark.parametrize("name", ["pre_logits", "big_vision", "r50", "bit"])
def test_every_missing_key_is_named_with_its_shape(name: str, tmp_path: Path) -> None:
    spec = (VITS | BITS)[name]
    arrays = spec.arrays()
    for key in arrays:
        rest = {k: v for k, v in arrays.items() if k != key}
        with pytest.raises(BadInput) as caught:
            load_checkpoint(save(tmp_path / "x.npz", rest), arch_of(spec), size_of(spec), 3, 5)
        assert f"has no {key}, which must have the shape {arrays[key].shape}" in str(caught.value), key
        assert "x.npz" in str(caught.value)


@pytest.mark.parametrize("name", ["pre_logits", "big_vision", "r50", "bit"])
def test_every_wrong_shape_is_named(name: str, tmp_path: Path) -> None:
    spec = (VITS | BITS)[name]
    arrays = spec.arrays()
    for key, value in arrays.items():
        wrong = {**arrays, key: np.concatenate([value, value], axis=-1)}
        with pytest.raises(BadInput) as caught:
            load_checkpoint(save(tmp_path / "x.npz", wrong), arch_of(spec), size_of(spec), 3, 5)
        told = str(caught.value)
        assert f"{key} has the shape {wrong[key].shape}, but {value.shape} is wanted" in told, told


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"width": 16, "heads": 4}, r"embedding/kernel has the shape \(4, 4, 3, 8\), but \(4, 4, 3, 16\)"),
        ({"heads": 4}, r"query/kernel has the shape \(8, 2, 4\), but \(8, 4, 2\)"),
        ({"depth": 3}, "has no Transformer/encoderblock_2/LayerNorm_0/scale"),
        ({"depth": 1}, "holds Transformer/encoderblock_1/.*which this arch does not have: check arch="),
        ({"patch": 2}, "embedding/kernel has the shape"),
        ({"mlp_ratio": 4.0}, r"Dense_0/kernel has the shape \(8, 16\), but \(8, 32\)"),
        ({"pool": Pool.mean}, "holds cls, which this arch does not have"),
        ({"pre_logits": True}, r"has no pre_logits/kernel, which must have the shape \(8, 8\)"),
    ],
)
def test_the_wrong_arch(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", Vit().arrays())
    arch = ViT(**{"patch": 4, "depth": 2, "width": 8, "heads": 2, "mlp_ratio": 2.0, **changes})
    with pytest.raises(BadInput, match=sentence):
        load_checkpoint(path, arch, 12, 3, 5)


@pytest.mark.parametrize(
    ("name", "arch", "sentence"),
    [
        ("original", ResNet([1]), "layout holds ViTs and hybrids, not arch=resnet"),
        ("bit", ViT(4, 2, 8, 2), "bit layout holds ResNets, not arch=vit"),
        ("original", Hybrid([1], 32, depth=2, width=8, heads=2), "has no conv_root/kernel"),
        ("r50", ViT(1, 2, 8, 2), r"embedding/kernel has the shape \(1, 1, 256, 8\), but \(1, 1, 3, 8\)"),
        ("bit", ResNet([1, 2], 32, groups=16), "knows one root and 32 groups"),
        ("bit", ResNet([1, 2], 32, Root.small), "knows one root and 32 groups, not arch.root=small"),
    ],
)
def test_another_family(name: str, arch: Arch, sentence: str, tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", (VITS | BITS)[name].arrays())
    with pytest.raises(BadInput, match=sentence):
        load_checkpoint(path, arch, 12 if isinstance(arch, ViT) else 32, 3, 5)


def test_pre_logits_is_kept_or_dropped_never_forgotten(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npz", VITS["pre_logits"].arrays())
    with pytest.raises(BadInput, match=r"holds opt/target/pre_logits/kernel: keep.*arch.pre_logits=true.*--head zero"):
        load_checkpoint(path, arch_of(Vit()), 12, 3, 5)
    model: Any = load_checkpoint(path, arch_of(VITS["pre_logits"]), 12, 3, 9, head="zero")
    assert isinstance(model.pre_logits, nn.Identity)
    assert torch.equal(model(images(12)), torch.zeros(2, 9))
    whole = load_checkpoint(path, arch_of(VITS["pre_logits"]), 12, 3, 5)
    told = Description(arch_of(VITS["pre_logits"]), 12, 3, 5)
    for to in ("augreg", "timm"):
        with pytest.raises(BadInput, match="pre_logits"):
            write_checkpoint(tmp_path / f"y{LAYOUTS[to].suffixes[0]}", whole, told, to)


def test_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"of a known layout \(original, .*its keys are a, b"):
        open_checkpoint(save(tmp_path / "x.npz", {"a": np.zeros(1), "b": np.zeros(1)}))
    with pytest.raises(BadInput, match="its keys are none"):
        open_checkpoint(save(tmp_path / "x.npz", {}))


SIDES = st.integers(1, 3)


@st.composite
def archs(draw: st.DrawFn) -> Arch:
    """Small ones of every family."""
    depths = draw(st.lists(SIDES, min_size=1, max_size=2))
    if draw(st.booleans()):
        root = draw(st.sampled_from(Root))
        return ResNet(depths, draw(st.sampled_from([2, 32])), root, draw(st.sampled_from([2, 32])))
    heads = draw(SIDES)
    shape: dict[str, Any] = {
        "depth": draw(SIDES),
        "width": heads * draw(SIDES),
        "heads": heads,
        "mlp_ratio": draw(st.sampled_from([1.0, 2.5, 4.0])),
        "pool": draw(st.sampled_from(Pool)),
        "pre_logits": draw(st.booleans()),
    }
    if draw(st.booleans()):
        return ViT(patch=draw(st.sampled_from([4, 8])), **shape)
    return Hybrid(draw(st.sampled_from([[], [1], [1, 2]])), draw(st.sampled_from([2, 32])), **shape)


def refused(arch: Arch, to: str) -> str:
    """Why this layout cannot hold it."""
    if to == "crossover":
        return ""
    if to != "timm" and isinstance(arch, ResNet) != (to == "bit"):
        return "not arch="
    if not isinstance(arch, ViT) and (arch.root is not Root.imagenet or arch.groups != 32):  # type: ignore[attr-defined]
        return "one root and 32 groups"
    return "pre_logits" if to in ("augreg", "timm") and getattr(arch, "pre_logits", False) else ""


@pytest.mark.parametrize("to", LAYOUTS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arch=archs(), channels=st.sampled_from([1, 3]), classes=st.integers(1, 4), seed=st.integers(0, 9))
def test_what_is_written_is_read_again(
    to: str, arch: Arch, channels: int, classes: int, seed: int, tmp_path: Path
) -> None:
    """Every layout holds an arch whole, or refuses it."""
    model = build(arch, 32, channels, classes, seed)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(generator=torch.Generator().manual_seed(seed))
    path = tmp_path / f"x{LAYOUTS[to].suffixes[0]}"
    if refusal := refused(arch, to):
        with pytest.raises(BadInput, match=refusal):
            write_checkpoint(path, model, Description(arch, 32, channels, classes), to)
        return
    write_checkpoint(path, model, Description(arch, 32, channels, classes), to)
    checkpoint = open_checkpoint(path)
    told = checkpoint.describe(arch)
    assert (told.channels, told.classes) == (channels, classes)
    assert told.image_size == 32 or isinstance(arch, ResNet)
    again = checkpoint.model(arch, 32, channels, classes).state_dict()
    for name, value in model.state_dict().items():
        folded = name in ("encoder.cls", "encoder.pos_embed") and to.startswith("big_vision")
        if not folded or arch.pool is Pool.mean:  # type: ignore[attr-defined]
            assert torch.equal(again[name], value), name
    x = torch.randn(2, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        other = checkpoint.model(arch, 32, channels, classes)
        torch.testing.assert_close(other(x), model(x), rtol=1e-3, atol=1e-3)
