"""Arrays: files of every kind, whole and damaged, of any precision; never unpickled."""

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
from safetensors.torch import save_file
from torch import nn
from weights import assert_same, filled, images

from pipeline.arch import ViT
from pipeline.errors import BadInput
from pipeline.models.checkpoint import load_checkpoint, open_checkpoint, write_checkpoint
from pipeline.models.layouts.own import Description

ARCH = ViT(4, 2, 8, 2, 2.0)
SPEC = Vit()


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
