"""Checkpoint: files of every kind, whole and damaged; our own, which say what they are of."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from official import Vit
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.arch import Arch, Hybrid, Module, Pool, ResNet, Root, Timm, ViT
from pipeline.errors import BadInput
from pipeline.models.build import build, reset_head
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


def images(rows: int, columns: int, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, rows, columns, generator=torch.Generator().manual_seed(0))


def filled(arch: Arch, size: int, channels: int = 3, classes: int = 5) -> nn.Module:
    model = build(arch, size, channels, classes, seed=0)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.3, generator=torch.Generator().manual_seed(p.numel()))
    return model


def assert_same(one: nn.Module, other: nn.Module) -> None:
    first, second = one.state_dict(), other.state_dict()
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert value.dtype == second[name].dtype
        assert torch.equal(value, second[name]), name


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


class Bomb:
    """Runs code when it is unpickled."""

    ran = False

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return setattr, (Bomb, "ran", True)


def write_pickled(path: Path) -> None:
    torch.save({"state_dict": {"head.weight": torch.zeros(1)}, "config": Bomb()}, path)


def write_pickled_npz(path: Path) -> None:
    np.savez(path, x=np.array([Bomb()], dtype=object))


def write_plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"x": Bomb()}))


def write_single_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


@pytest.mark.parametrize(
    ("name", "write", "sentence"),
    [
        ("x.pth", write_pickled, "no file of plain tensors.*never unpickles"),
        ("x.bin", write_plain_pickle, "no file of plain tensors.*never unpickles"),
        ("x.npz", write_pickled_npz, "no .npz of plain arrays"),
        ("x.npz", write_plain_pickle, "no .npz of plain arrays"),
        ("x.safetensors", write_plain_pickle, "no safetensors file, or is damaged"),
        ("x.npz", lambda p: p.write_bytes(b""), "no .npz of plain arrays"),
        ("x.pth", lambda p: p.write_bytes(b""), "no file of plain tensors"),
        ("x.safetensors", lambda p: p.write_bytes(b""), "no safetensors file"),
        ("x.npz", write_single_array, "no .npz of plain arrays"),
        ("x.npz", lambda p: np.savez(p, x=np.array("text")), "no .npz of plain arrays"),
        ("x.npz", lambda p: p.mkdir(), "x.npz is a folder: name a file"),
        ("x.ckpt", lambda p: p.write_bytes(b"x"), "must end in .npz, .safetensors"),
        ("x.pth", lambda p: torch.save({"a": 3}, p), "holds more than a state_dict"),
        ("x.pth", lambda p: torch.save({0: torch.zeros(1)}, p), "holds more than a state_dict"),
        ("x.pth", lambda p: torch.save([torch.zeros(1)], p), "holds more than a state_dict"),
        ("x.pth", lambda p: torch.save({"head.bias": torch.zeros(1, device="meta")}, p), "holds more than"),
        ("x.pth", lambda p: torch.save({"head.bias": torch.eye(2).to_sparse()}, p), "holds more than"),
        ("y.npz", lambda p: None, "There is no checkpoint"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*[Ss]parse")
def test_a_file_that_is_no_checkpoint(name: str, write: Callable[[Path], Any], sentence: str, tmp_path: Path) -> None:
    write(tmp_path / name)
    with pytest.raises(BadInput, match=sentence) as caught:
        open_checkpoint(tmp_path / name)
    assert "\n" not in str(caught.value)
    assert not Bomb.ran


class Files(dict[str, bytes]):
    """What hypothesis need not print."""

    def __repr__(self) -> str:
        return "files"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The same weights in every kind of file."""
    folder = tmp_path_factory.mktemp("whole")
    made = {}
    for suffix, to in ((".npz", "original"), (".safetensors", "crossover"), (".pth", "timm")):
        path = folder / f"x{suffix}"
        write_checkpoint(path, filled(ARCH, 12), Description(ARCH, 12, 3, 5), to)
        made[suffix] = path.read_bytes()
    with zipfile.ZipFile(folder / "x.npz") as stored, zipfile.ZipFile(folder / "z", "w", zipfile.ZIP_DEFLATED) as small:
        for name in stored.namelist():
            small.writestr(name, stored.read(name))
    return Files({**made, "compressed": (folder / "z").read_bytes()})


@pytest.mark.parametrize("kind", [".npz", ".safetensors", ".pth", "compressed"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True))
@example(share=0.999)
def test_a_truncated_file_is_refused(kind: str, share: float, whole: Files, tmp_path: Path) -> None:
    path = tmp_path / f"x{kind if kind[0] == '.' else '.npz'}"
    path.write_bytes(whole[kind][: int(share * len(whole[kind]))])
    with pytest.raises(BadInput, match="damaged"):
        open_checkpoint(path)


@pytest.mark.parametrize("kind", [".npz", ".safetensors", ".pth", "compressed"])
@pytest.mark.filterwarnings("ignore")
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255), run=st.integers(1, 8))
def test_a_flipped_byte_is_a_sentence_or_other_numbers(
    kind: str, place: float, bits: int, run: int, whole: Files, tmp_path: Path
) -> None:
    """Whatever is wrong inside a file, nothing but BadInput comes out, or a model of the same shapes."""
    path, data = tmp_path / f"x{kind if kind[0] == '.' else '.npz'}", bytearray(whole[kind])
    for i in range(run):
        data[(int(place * len(data)) + i) % len(data)] ^= bits
    path.write_bytes(bytes(data))
    try:
        model = load_checkpoint(path, ARCH, 12, 3, 5)
    except BadInput:
        return
    assert model(images(12, 12)).shape == (2, 5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pth"])
def test_other_precisions_become_fp32(dtype: torch.dtype, suffix: str, tmp_path: Path) -> None:
    arrays = {key: torch.from_numpy(value) for key, value in SPEC.arrays().items()}
    path = tmp_path / f"x{suffix}"
    lower = {key: value.to(dtype) for key, value in arrays.items()}
    if suffix == ".npz" and dtype is torch.bfloat16:  # as numpy with ml_dtypes writes it
        np.savez(path, **{k: v.view(torch.int16).numpy().view("V2") for k, v in lower.items()})  # type: ignore[arg-type]
    elif suffix == ".npz":
        np.savez(path, **{k: v.numpy() for k, v in lower.items()})  # type: ignore[arg-type]
    else:
        (save_file if suffix == ".safetensors" else torch.save)(lower, path)
    model = load_checkpoint(path, ARCH, 12, 3, 5)
    assert all(p.dtype is torch.float32 for p in model.parameters())
    expected = arrays["head/bias"].to(dtype).float()
    assert torch.equal(model.state_dict()["head.bias"], expected)


def test_arrays_of_the_other_byte_order_and_column_order(tmp_path: Path) -> None:
    arrays = SPEC.arrays()
    odd = {key: np.asfortranarray(value.astype(">f4")) for key, value in arrays.items()}
    np.savez(tmp_path / "x.npz", **odd)  # type: ignore[arg-type]
    np.savez(tmp_path / "y.npz", **arrays)  # type: ignore[arg-type]
    assert_same(*(load_checkpoint(tmp_path / n, ARCH, 12, 3, 5) for n in ("x.npz", "y.npz")))


def test_whole_numbers_are_no_weights(tmp_path: Path) -> None:
    arrays = {**SPEC.arrays(), "embedding/bias": np.zeros(8, np.int32)}
    np.savez(tmp_path / "x.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"embedding/bias holds numbers of type torch.int32, but torch.float32"):
        load_checkpoint(tmp_path / "x.npz", ARCH, 12, 3, 5)


@pytest.mark.parametrize("nest", ["state_dict", "model", "model_state_dict", "state_dict_ema"])
@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_what_training_scripts_save(nest: str, wrapper: str, tmp_path: Path) -> None:
    model = filled(ARCH, 12)
    write_checkpoint(tmp_path / "x.pth", model, Description(ARCH, 12, 3, 5), "timm")
    state = torch.load(tmp_path / "x.pth", weights_only=True)
    parameters = {f"{wrapper}{key}": nn.Parameter(value) for key, value in state.items()}
    torch.save({"epoch": 3, nest: parameters}, tmp_path / "y.pth")
    again = load_checkpoint(tmp_path / "y.pth", ARCH, 12, 3, 5)
    assert_same(again, model)
    assert all(p.is_leaf for p in again.parameters())


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
