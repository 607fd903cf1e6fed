"""Entry: parameters of ours, and the arrays of a file that hold the same numbers, with the way there and back.

Both ways only reorder, split and join numbers (and fold the class token's position), so they work on meta tensors too:
the shapes a file must have are those of ``write`` applied to the model's own shapes.
Suffixes: D model width, N heads, E width of a head, H height, W width, I channels in, O channels out, L depth.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

Map = Callable[[list[Tensor]], list[Tensor]]


@dataclass(frozen=True)
class Entry:
    """``write`` takes our parameters to the file's arrays, in the order of the names; ``read`` is its inverse."""

    ours: tuple[str, ...]
    theirs: tuple[str, ...]
    write: Map
    read: Map


def one(ours: str, theirs: str, write: Callable[[Tensor], Tensor], read: Callable[[Tensor], Tensor]) -> Entry:
    return Entry((ours,), (theirs,), lambda tensors: [write(tensors[0])], lambda arrays: [read(arrays[0])])


def same(ours: str, theirs: str) -> Entry:
    """The same numbers in the same order."""
    return one(ours, theirs, lambda t: t, lambda a: a)


def norm(ours: str, theirs: str, scale: str, bias: str) -> Iterator[Entry]:
    yield same(f"{ours}.weight", f"{theirs}/{scale}")
    yield same(f"{ours}.bias", f"{theirs}/{bias}")


def kernel(ours: str, theirs: str) -> Entry:
    """A convolution's: OIHW here, HWIO there."""
    return one(f"{ours}.weight", f"{theirs}/kernel", lambda t: t.permute(2, 3, 1, 0), lambda a: a.permute(3, 2, 0, 1))


def dense(ours: str, theirs: str) -> Iterator[Entry]:
    """(out, in) here, (in, out) there."""
    yield one(f"{ours}.weight", f"{theirs}/kernel", torch.t, torch.t)
    yield same(f"{ours}.bias", f"{theirs}/bias")


def attention(ours: str, theirs: str, heads: int) -> Iterator[Entry]:
    """One kernel for query, key and value here; there one each, with the heads as an axis: (D, N, E) and (N, E, D)."""
    parts = [f"{theirs}/{part}" for part in ("query", "key", "value")]

    def write_qkv(tensors: list[Tensor]) -> list[Tensor]:
        return [w.t().unflatten(1, (heads, -1)) for w in tensors[0].chunk(3)]

    def write_biases(tensors: list[Tensor]) -> list[Tensor]:
        return [b.unflatten(0, (heads, -1)) for b in tensors[0].chunk(3)]

    yield Entry(
        (f"{ours}.qkv.weight",),
        tuple(f"{p}/kernel" for p in parts),
        write_qkv,
        lambda arrays: [torch.cat([a_DNE.flatten(1).t() for a_DNE in arrays])],
    )
    yield Entry(
        (f"{ours}.qkv.bias",),
        tuple(f"{p}/bias" for p in parts),
        write_biases,
        lambda arrays: [torch.cat([a_NE.flatten() for a_NE in arrays])],
    )
    yield one(
        f"{ours}.out.weight",
        f"{theirs}/out/kernel",
        lambda w_DD: w_DD.t().unflatten(0, (heads, -1)),
        lambda a_NED: a_NED.flatten(0, 1).t(),
    )
    yield same(f"{ours}.out.bias", f"{theirs}/out/bias")


def folded_positions(cls: str, positions: str) -> Entry:
    """Positions are added before the class token there, so its own position is part of the token."""
    return Entry(
        ("encoder.cls", "encoder.pos_embed"),
        (cls, positions),
        lambda tensors: [tensors[0] + tensors[1][:, :1], tensors[1][:, 1:]],
        lambda arrays: [arrays[0], torch.cat([torch.zeros_like(arrays[0]), arrays[1]], dim=1)],
    )


def stacked(layers: Iterable[Iterable[Entry]]) -> Iterator[Entry]:
    """Entries of all blocks as one each, with the depth as a first axis L there. ``theirs`` is the first block's."""
    for entries in zip(*layers, strict=True):
        ours = tuple(name for entry in entries for name in entry.ours)
        yield Entry(ours, entries[0].theirs, partial(_stack, entries), partial(_unstack, entries))


def _stack(entries: tuple[Entry, ...], tensors: list[Tensor]) -> list[Tensor]:
    step = len(entries[0].ours)
    layers = [entry.write(tensors[i * step : (i + 1) * step]) for i, entry in enumerate(entries)]
    return [torch.stack(group) for group in zip(*layers, strict=True)]


def _unstack(entries: tuple[Entry, ...], arrays: list[Tensor]) -> list[Tensor]:
    return [t for i, entry in enumerate(entries) for t in entry.read([a[i] for a in arrays])]
