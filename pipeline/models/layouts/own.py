"""Crossover's own files: our names in safetensors, and in its metadata what the weights are of."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, get_args, get_origin, get_type_hints

from torch import Tensor

from pipeline.arch import KINDS, Arch
from pipeline.errors import BadInput
from pipeline.models.layouts.entry import Entry, same
from pipeline.trial import canonical

FORMAT = 1


@dataclass(frozen=True)
class Own:
    name: str = "crossover"
    prefix: str = ""
    suffixes: tuple[str, ...] = (".safetensors",)

    def entries(self, arch: Arch, names: Collection[str]) -> Iterator[Entry]:
        for name in names:
            yield same(name, self.prefix + name)


def find(arrays: Mapping[str, Tensor]) -> Own | None:
    """Of a checkpoint, or of a state in the store, whose weights stand under ``model/``."""
    for prefix in ("model/", ""):
        if any(f"{prefix}{key}" in arrays for key in ("encoder.pos_embed", "backbone.root.weight")):
            return Own(prefix=prefix)
    return None


@dataclass
class Description:
    """What weights are of."""

    arch: Arch
    image_size: int
    channels: int
    classes: int
    grid: tuple[int, int] | None = None
    """Rows and columns of position embeddings, where these are not the square of ``image_size``."""

    def to_json(self) -> str:
        arch = canonical(self.arch)
        rest = {"image_size": self.image_size, "channels": self.channels, "classes": self.classes, "grid": self.grid}
        return json.dumps({"format": FORMAT, "arch": arch, **rest}, sort_keys=True)


def parse_description(text: str, where: str) -> Description:
    """Raises BadInput for a description that is damaged or of a newer format."""
    try:
        plain = json.loads(text)
        if plain["format"] > FORMAT:
            raise BadInput(f"{where} was written by a newer Crossover: upgrade to read it.")
        rows, columns = plain["grid"] or (0, 0)
        grid = (_value(int, rows), _value(int, columns)) if plain["grid"] else None
        sizes = [_value(int, plain[name]) for name in ("image_size", "channels", "classes")]
        if min(*sizes, *(grid or ())) < 1:
            raise ValueError("a size is not positive")
        return Description(parse_arch(plain["arch"]), *sizes, grid=grid)
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"The description in {where} is damaged ({error}): take the file from its source again."
        ) from error


def parse_arch(plain: dict[str, Any]) -> Arch:
    """The Arch of a canonical form. Raises KeyError, TypeError or ValueError for what is none."""
    families = {cls.__name__: cls for cls in KINDS.values()}
    cls = families[plain["is"]]
    hints = get_type_hints(cls)
    known = {f.name for f in fields(cls)}
    if unknown := plain.keys() - known - {"is"}:
        raise ValueError(f"{cls.__name__} has no {', '.join(sorted(unknown))}")
    return cls(**{name: _value(hints[name], plain[name]) for name in known & plain.keys()})


def _value(kind: Any, plain: Any) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind[plain]
    if isinstance(plain, dict) and set(plain) == {"float"}:
        plain = float(plain["float"])
    if isinstance(plain, dict):
        return {key: _value(Any, member) for key, member in plain.items()}
    if isinstance(plain, list):
        (member_kind,) = get_args(kind) or (Any,)
        return [_value(member_kind, member) for member in plain]
    if kind is not Any and not isinstance(plain, get_origin(kind) or kind):
        raise ValueError(f"{plain!r} is no {kind.__name__}")
    return plain
