"""Trial: science only. Its digest is its name; what shares weights shares addresses.

``Pretrain`` trains an Arch from scratch on a Subset. ``Transfer`` takes a finished Pretrain to a downstream task
under a protocol. Nothing about hardware, paths or trackers can be expressed here: that is Placement.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from functools import cached_property
from typing import Any, ClassVar

from pipeline.arch import Arch
from pipeline.recipe import MomentumDtype, Recipe
from pipeline.subset import Subset


@dataclass(frozen=True)
class FewShot:
    """Regularised least squares on frozen features of ``shots`` images per class (arXiv 2010.11929, 4.1)."""

    protocol: ClassVar[str] = "fewshot"
    shots: int
    l2: float = 1024.0
    """The fixed 2^10 of the official evaluator; features are whitened first."""


@dataclass(frozen=True)
class FineTune:
    """All weights, SGD with momentum, cosine decay, no weight decay (arXiv 2010.11929, Table 4)."""

    protocol: ClassVar[str] = "finetune"
    steps: int
    lr: float = 0.03
    batch_size: int = 64
    samples: int = 0
    """Training images of the task, a prefix of its stratified order; 0 is all of them."""
    warmup_steps: int | None = field(default=None, metadata={"neutral": None})
    """None is a tenth of the steps."""
    momentum_dtype: MomentumDtype = field(default=MomentumDtype.fp32, metadata={"neutral": MomentumDtype.fp32})
    crop_area: float = field(default=0.0, metadata={"neutral": 0.0})
    """Smallest share of the area that a random resized crop keeps; 0 turns it off."""
    flip: bool = field(default=False, metadata={"neutral": False})


Protocol = FewShot | FineTune


@dataclass(frozen=True)
class Pretrain:
    arch: Arch
    recipe: Recipe
    """Resolved: rules already turned into numbers."""
    subset: Subset
    budget: int
    """Samples seen, a whole number of batches."""
    seed: int

    @property
    def steps(self) -> int:
        return self.recipe.steps(self.budget)

    @property
    def branch_step(self) -> int:
        """The step at which this trial leaves its trunk; 0 when its schedule shares nothing."""
        if not self.recipe.shares_trunk:
            return 0
        return self.steps - self.recipe.cooldown_steps(self.steps)

    @cached_property
    def trajectory(self) -> str:
        """Digest of everything that fixes the weights on the trunk: the trial without its horizon."""
        recipe = replace(self.recipe, cooldown=0.0)
        return digest({"trajectory": (self.arch, recipe, self.subset, self.seed), "schedule": recipe.schedule})


@dataclass(frozen=True)
class Transfer:
    parent: Pretrain
    dataset: str
    """Dataset id of the downstream task."""
    protocol: Protocol
    seed: int


Trial = Pretrain | Transfer


def canonical(value: Any) -> Any:
    """Plain JSON form that never depends on process, platform or field order.

    A dataclass becomes an object tagged with its class name. A field equal to the ``neutral`` value in its metadata
    is left out, so a field added later does not move old digests; so is a ``label``, which only people read. Raises
    TypeError for a value without stable form.
    """
    if is_dataclass(value) and not isinstance(value, type):
        members = {
            f.name: canonical(getattr(value, f.name))
            for f in fields(value)
            if not _left_out(f.metadata, getattr(value, f.name))
        }
        return {"is": type(value).__name__, **members}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{value!r} has no stable form")
        return {"float": repr(value)}
    if isinstance(value, list | tuple):
        return [canonical(v) for v in value]
    if isinstance(value, dict):
        if not all(isinstance(k, str) for k in value):
            raise TypeError("only string keys have a stable form")
        return {k: canonical(v) for k, v in value.items()}
    raise TypeError(f"{type(value).__name__} has no stable form")


def _left_out(metadata: Mapping[str, Any], value: Any) -> bool:
    return "label" in metadata or ("neutral" in metadata and value == metadata["neutral"])


def canonical_json(value: Any) -> str:
    return json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def digest(value: Any) -> str:
    """sha256 over canonical JSON, 64 hex characters."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted (field, plain value) pairs of a canonical form, for showing differences to people."""
    if isinstance(value, dict) and set(value) == {"float"}:
        yield prefix, float(value["float"])
    elif isinstance(value, dict):
        for key, member in value.items():
            yield from flatten(member, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value


def difference(a: Any, b: Any) -> dict[str, tuple[Any, Any]]:
    """Field-by-field difference of two canonical forms: {dotted field: (in a, in b)}."""
    left, right = dict(flatten(a)), dict(flatten(b))
    return {
        key: (left.get(key), right.get(key))
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    }
