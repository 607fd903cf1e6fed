"""Arrays: what a checkpoint file holds, by key, as torch tensors. Nothing is ever unpickled."""

import contextlib
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipeline.errors import BadInput

NESTED = ("state_dict", "model", "model_state_dict", "state_dict_ema")
"""Where training scripts put the weights of a .pth file."""
WRAPPERS = ("module.", "_orig_mod.")
"""What data parallelism and torch.compile put before a name."""
SUFFIXES = (".npz", ".safetensors", ".pth", ".pt", ".bin")


def read_arrays(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(arrays in fp32 if they are floating, metadata). Raises BadInput for a file that is no checkpoint or damaged."""
    if not path.is_file():
        wrong = f"{path} is a folder" if path.is_dir() else f"There is no checkpoint {path}"
        raise BadInput(f"{wrong}: name a file, or a trial of the store.")
    readers = {".npz": _read_npz, ".safetensors": _read_safetensors}
    if path.suffix not in SUFFIXES:
        raise BadInput(f"{path} is no checkpoint by its name: it must end in {', '.join(SUFFIXES)}.")
    arrays, metadata = readers.get(path.suffix, _read_torch)(path)
    return {key: a.float() if a.is_floating_point() else a for key, a in arrays.items()}, metadata


def check_target(path: Path) -> None:
    """Raises BadInput where no file could be written at ``path``, whose folder is made. An older file is replaced."""
    if path.is_dir():
        raise BadInput(f"{path} is a folder: name the file to write.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise BadInput(
            f"{path} cannot be written ({error.strerror}): choose another folder, or mend its rights."
        ) from error


def write_arrays(path: Path, arrays: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """By the suffix. The file appears whole or not at all."""
    check_target(path)
    plain = {key: a.detach().cpu().clone(memory_format=torch.contiguous_format) for key, a in arrays.items()}
    handle, name = tempfile.mkstemp(prefix=".", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        if path.suffix == ".npz":
            named: dict[str, Any] = {key: a.numpy() for key, a in plain.items()}
            np.savez(name, **named)
        elif path.suffix == ".safetensors":
            save_file(plain, name, metadata)
        else:
            torch.save(plain, name)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def _read_npz(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with _opened(path, f"{path} is no .npz of plain arrays, or is damaged: take it from its source again.") as file:
        found = np.load(file, allow_pickle=False)
        if not isinstance(found, NpzFile):
            raise ValueError("a single array")
        with found:
            return {key: _tensor(found[key]) for key in found.files}, {}


def _tensor(array: np.ndarray) -> Tensor:
    """numpy has no bfloat16: such arrays come as two void bytes a number."""
    if array.dtype.kind == "V" and array.dtype.itemsize == 2:
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return torch.from_numpy(np.asarray(array, array.dtype.newbyteorder("="), order="C"))


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with (
        _opened(path, f"{path} is no safetensors file, or is damaged: take it from its source again."),
        safe_open(str(path), "pt") as file,
    ):
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _read_torch(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    wrong = f"{path} is no file of plain tensors, or is damaged: Crossover never unpickles; save a state_dict."
    with _opened(path, wrong) as opened, warnings.catch_warnings(action="ignore"):
        found: Any = torch.load(opened, map_location="cpu", weights_only=True)
    for key in NESTED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
            break
    if not isinstance(found, dict) or not all(isinstance(k, str) and _plain(v) for k, v in found.items()):
        raise BadInput(f"{path} holds more than a state_dict of tensors: save model.state_dict() by itself.")
    return {_unwrapped(key): value.detach() for key, value in found.items()}, {}


@contextlib.contextmanager
def _opened(path: Path, sentence: str) -> Iterator[BinaryIO]:
    """The readers of a damaged file raise whatever its bytes make them stumble over: all that is the one sentence."""
    try:
        with path.open("rb") as file:
            yield file
    except PermissionError:
        raise
    except Exception as error:
        raise BadInput(sentence) from error


def _plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided and not (value.is_meta or value.is_quantized)


def _unwrapped(key: str) -> str:
    while key.startswith(WRAPPERS):
        key = key.split(".", 1)[1]
    return key


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
