"""Match: the arrays of a file against the parameters that a model wants, strictly."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from pipeline.arch import Arch
from pipeline.errors import BadInput
from pipeline.models.layouts.entry import Entry
from pipeline.models.layouts.layout import HEAD, Layout


def match(
    arrays: Mapping[str, Tensor],
    layout: Layout,
    arch: Arch,
    wanted: Mapping[str, Tensor],
    where: str,
    left: Collection[str] = (),
) -> dict[str, Tensor]:
    """Our parameters, by name, in the shapes of ``wanted`` (meta tensors serve).

    ``left`` names those of the head, if the file's stays where it is. Raises BadInput for a key that is missing, of
    another shape or kind of number, or one that nothing wants.
    """
    found: dict[str, Tensor] = {}
    used: set[str] = set()
    for entry in layout.entries(arch, wanted.keys()):
        used.update(entry.theirs)
        if entry.ours[0] in left:
            continue
        models = entry.write([wanted[name] for name in entry.ours])
        taken = [_take(arrays, key, model, where) for key, model in zip(entry.theirs, models, strict=True)]
        for name, tensor in zip(entry.ours, entry.read(taken), strict=True):
            found[name] = tensor.clone(memory_format=torch.contiguous_format)
    for key in arrays:
        _refuse_foreign(key, layout.prefix, used, where, head=not left)
    return found


def _take(arrays: Mapping[str, Tensor], key: str, wanted: Tensor, where: str) -> Tensor:
    shape = tuple(wanted.shape)
    hint = "a fresh one comes with --head zero" if "head" in key else "check arch="
    if key not in arrays:
        raise BadInput(f"{where} has no {key}, which must have the shape {shape}: {hint}, or take a whole file.")
    array = arrays[key]
    if len(shape) == 1 and tuple(array.shape) == (1, 1, 1, *shape):  # norms of old files
        array = array.reshape(shape)
    if tuple(array.shape) != shape:
        raise BadInput(f"{where}: {key} has the shape {tuple(array.shape)}, but {shape} is wanted: {hint}.")
    if array.is_floating_point() != wanted.is_floating_point():
        raise BadInput(f"{where}: {key} holds numbers of type {array.dtype}, but {wanted.dtype} is wanted.")
    return array


def _refuse_foreign(key: str, prefix: str, used: set[str], where: str, head: bool) -> None:
    name = key.removeprefix(prefix)
    if key in used or not key.startswith(prefix) or (not head and name.startswith(HEAD)):
        return
    if name.startswith("pre_logits"):
        raise BadInput(f"{where} holds {key}: keep that layer with arch.pre_logits=true, or drop it with --head zero.")
    raise BadInput(f"{where} holds {key}, which this arch does not have: check arch=.")


def holds(arrays: Mapping[str, Tensor], entries: list[Entry], ours: str) -> tuple[Entry, Tensor] | None:
    """The entry of one of our parameters, and the last array it is made of, if the file has that."""
    for entry in entries:
        if ours in entry.ours and entry.theirs[-1] in arrays:
            return entry, arrays[entry.theirs[-1]]
    return None
