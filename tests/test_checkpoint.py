"""Checkpoint: our own files, which say what they are of, and weights brought to other heads and images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from official import Vit
from safetensors import safe_open
from safetensors.torch import save_file
from weights import assert_same, filled, images

from pipeline.arch import Arch, Hybrid, Module, Pool, ResNet, Root, Timm, ViT
from pipeline.errors import BadInput
from pipeline.models.build import reset_head
from pipeline.models.checkpoint import (
    DESCRIPTION,
    load_checkpoint,
    load_model,
    open_checkpoint,
    save_model,
    write_checkpoint,
)
from pipeline.models.layouts.own import Description, parse_description

ARCH = ViT(4, 2, 8, 2, 2.0)
SPEC = Vit()

OURS: list[tuple[Arch, int]] = [
    (ViT(8, 2, 8, 2, 2.5, Pool.mean, True), 24),
    (Hybrid([1], 2, Root.half, 2, 1, 8, 2), 16),
    (ResNet([1, 1], 2, Root.small, 2), 16),
    (Module(target="foreign.Normed", arguments={"width": 6}), 16),
    (Module(target="foreign.Scaled"), 16),
    (Timm(name="test_vit", arguments={"drop_rate": 0.1}), 32),
]


@pytest.mark.parametrize(("arch", "size"), OURS, ids=lambda value: getattr(value, "kind", None))
def test_our_own_files_say_what_they_are_of(arch: Arch, size: int, tmp_path: Path) -> None:
    if isinstance(arch, Timm):
        pytest.importorskip("timm")
    model = filled(arch, size, 1)
    save_model(tmp_path / "sub" / "x.safetensors", model, arch, size, 1, 5)
    again, told = load_model(tmp_path / "sub" / "x.safetensors")
    assert told == Description(arch, size, 1, 5)
    assert_same(model, again)
    with torch.no_grad():
        assert torch.equal(again.eval()(images(size, size, 1)), model.eval()(images(size, size, 1)))
    assert all(p.requires_grad and p.is_leaf for p in again.parameters())


@pytest.mark.parametrize(("arch", "size"), OURS, ids=lambda value: getattr(value, "kind", None))
def test_a_fresh_head_is_that_of_fine_tuning(arch: Arch, size: int, tmp_path: Path) -> None:
    if isinstance(arch, Timm):
        pytest.importorskip("timm")
    model = filled(arch, size)
    save_model(tmp_path / "x.safetensors", model, arch, size, 3, 5)
    again = load_checkpoint(tmp_path / "x.safetensors", arch, size, 3, 5, head="zero")
    assert_same(load_checkpoint(tmp_path / "x.safetensors", arch, size, 3, 5), model)
    reset_head(model, 5)
    assert_same(again, model)
    other = load_checkpoint(tmp_path / "x.safetensors", arch, size, 3, 9, head="zero")
    with torch.no_grad():
        assert torch.equal(other.eval()(images(size, size)), torch.zeros(2, 9))
    with pytest.raises(BadInput, match=r"has the shape \(5,.*but \(9,"):
        load_checkpoint(tmp_path / "x.safetensors", arch, size, 3, 9)
    with pytest.raises(BadInput, match="head=new is neither keep nor zero"):
        load_checkpoint(tmp_path / "x.safetensors", arch, size, 3, 9, head="new")


def test_positions_follow_the_image(tmp_path: Path) -> None:
    """To another size, and to a grid that is no square and back from it."""
    model = filled(ARCH, 12)
    square, wide = tmp_path / "square.safetensors", tmp_path / "wide.safetensors"
    save_model(square, model, ARCH, 12, 3, 5)
    larger: Any = load_checkpoint(square, ARCH, 20, 3, 5)
    assert larger(images(20, 20)).shape == (2, 5)
    assert torch.equal(larger.encoder.pos_embed[:, :2], model.encoder.pos_embed[:, :2])  # type: ignore[index, union-attr]
    oblong: Any = load_checkpoint(square, ARCH, 12, 3, 5, grid=(2, 5))
    assert oblong(images(8, 20)).shape == (2, 5)
    save_model(wide, oblong, ARCH, 12, 3, 5, grid=(2, 5))
    again, told = load_model(wide)
    assert told.grid == (2, 5)
    assert_same(again, oblong)
    other: Any = load_checkpoint(wide, ARCH, 12, 3, 5, grid=(5, 2))
    assert other(images(20, 8)).shape == (2, 5)
    with pytest.raises(BadInput, match=r"pos_embed has the shape \(1, 11, 8\), not \(1, 10, 8\)"):
        save_model(wide, oblong, ARCH, 12, 3, 5)


@pytest.mark.parametrize("to", ["original", "big_vision", "timm"])
def test_other_layouts_do_not_tell_a_grid(to: str, tmp_path: Path) -> None:
    """2 x 5 is one more than a square: it must not be taken for that and a class token."""
    model: Any = filled(ARCH, 12)
    save_model(tmp_path / "x.safetensors", model, ARCH, 12, 3, 5)
    oblong = load_checkpoint(tmp_path / "x.safetensors", ARCH, 12, 3, 5, grid=(2, 5))
    path = tmp_path / ("y.pth" if to == "timm" else "y.npz")
    write_checkpoint(path, oblong, Description(ARCH, 12, 3, 5, (2, 5)), to)
    again = load_checkpoint(path, ARCH, 12, 3, 5, grid=(2, 5), old_grid=(2, 5))
    torch.testing.assert_close(again(images(8, 20)), oblong(images(8, 20)))
    if to != "big_vision":
        with pytest.raises(BadInput, match=r"of 10 patches, not a square: .*\(--source-grid\)"):
            load_checkpoint(path, ARCH, 12, 3, 5)


def test_a_model_that_is_not_what_it_is_told_to_be(tmp_path: Path) -> None:
    model = filled(ARCH, 12)
    with pytest.raises(BadInput, match=r"encoder.blocks.2.* has the shape none, not \("):
        save_model(tmp_path / "x.safetensors", model, ViT(4, 3, 8, 2, 2.0), 12, 3, 5)
    with pytest.raises(BadInput, match=r"head.bias has the shape \(5,\), not \(6,\)"):
        save_model(tmp_path / "x.safetensors", model, ARCH, 12, 3, 6)
    with pytest.raises(BadInput, match=r"its embed.weight has the shape \(8, 3, 4, 4\), not \(8, 1, 4, 4\)"):
        save_model(tmp_path / "x.safetensors", model, ARCH, 12, 1, 5)
    assert not list(tmp_path.iterdir())


def test_a_file_without_description_needs_the_arch(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **SPEC.arrays())  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="does not say what it is of: `crossover convert` it first"):
        load_model(tmp_path / "x.npz")


PLAIN = json.loads(Description(ARCH, 12, 3, 5).to_json())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (json.dumps({**PLAIN, "format": 2}), "written by a newer Crossover: upgrade"),
        ("{", "description in f is damaged"),
        ("[]", "is damaged"),
        (json.dumps({**PLAIN, "arch": {"is": "Nothing"}}), "is damaged"),
        (json.dumps({**PLAIN, "arch": {**PLAIN["arch"], "depth": "2"}}), "'2' is no int"),
        (json.dumps({**PLAIN, "arch": {**PLAIN["arch"], "pool": "all"}}), "is damaged"),
        (json.dumps({**PLAIN, "arch": {**PLAIN["arch"], "colour": 1}}), "ViT has no colour"),
        (json.dumps({**PLAIN, "image_size": "12"}), "'12' is no int"),
        (json.dumps({**PLAIN, "classes": 0}), "not positive"),
        (json.dumps({**PLAIN, "grid": [1]}), "is damaged"),
        (json.dumps({k: v for k, v in PLAIN.items() if k != "channels"}), "'channels'"),
    ],
)
def test_a_description_damaged_or_newer(text: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        parse_description(text, "f")


@pytest.mark.parametrize(("arch", "size"), OURS, ids=lambda value: getattr(value, "kind", None))
def test_a_description_is_read_as_it_was_written(arch: Arch, size: int) -> None:
    for grid in (None, (3, 5)):
        told = Description(arch, size, 1, 2, grid)
        assert parse_description(told.to_json(), "f") == told


def test_a_newer_file_is_refused_before_its_weights_are_looked_at(tmp_path: Path) -> None:
    text = json.dumps({**PLAIN, "format": 99})
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", {DESCRIPTION: text})
    with pytest.raises(BadInput, match=r"x.safetensors was written by a newer Crossover"):
        open_checkpoint(tmp_path / "x.safetensors")


def test_a_model_of_timm_goes_back_to_timm(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    arch = Timm(name="test_resnet")
    model = filled(arch, 32)
    write_checkpoint(tmp_path / "x.safetensors", model, Description(arch, 32, 3, 5), "timm")
    theirs = timm.create_model("test_resnet", num_classes=5)
    timm.models.load_checkpoint(theirs, str(tmp_path / "x.safetensors"), strict=True)
    with torch.no_grad():
        assert torch.equal(theirs.eval()(images(32, 32)), model.eval()(images(32, 32)))


@pytest.mark.parametrize("to", ["original", "big_vision", "bit"])
def test_the_official_layouts_hold_no_modules_made_elsewhere(to: str, tmp_path: Path) -> None:
    arch = Module(target="foreign.Normed")
    with pytest.raises(BadInput, match="not arch=module"):
        write_checkpoint(tmp_path / "x.npz", filled(arch, 16), Description(arch, 16, 3, 5), to)


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.npz"
    write_checkpoint(path, filled(ARCH, 12), Description(ARCH, 12, 3, 5), "original")
    before = path.read_bytes()

    def full(name: str, **arrays: np.ndarray) -> None:
        Path(name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space"):
        write_checkpoint(path, filled(ARCH, 12), Description(ARCH, 12, 3, 5), "original")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def test_the_arch_lies_in_the_file(tmp_path: Path) -> None:
    """Readable by anybody, without this program."""
    save_model(tmp_path / "x.safetensors", filled(ARCH, 12), ARCH, 12, 3, 5)
    with safe_open(str(tmp_path / "x.safetensors"), "pt") as file:
        told = json.loads(file.metadata()[DESCRIPTION])
    assert told["format"] == 1
    assert (told["image_size"], told["channels"], told["classes"], told["grid"]) == (12, 3, 5, None)
    assert told["arch"]["is"] == "ViT" and told["arch"]["patch"] == 4
