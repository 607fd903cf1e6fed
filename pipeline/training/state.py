"""State: weights and optimiser at one step, as safetensors. Nothing is ever unpickled.

Layout: ``model/NAME``, ``average/NAME`` and ``optimizer/INDEX/NAME`` tensors; metadata holds the step and a note as
JSON. The order of samples and dropout are pure functions of the step, so no iterator or generator state exists.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from pipeline.errors import BadInput
from pipeline.record import read_record, state_key
from pipeline.store import Store


@dataclass
class State:
    step: int
    model: dict[str, Tensor]
    optimizer: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    """Per parameter, in the order of the optimiser."""
    average: dict[str, Tensor] = field(default_factory=dict)
    """Polyak average of the parameters, where a recipe keeps one."""
    note: dict[str, Any] = field(default_factory=dict)
    """JSON-able: of an unfinished segment, its curve and seconds so far."""

    @classmethod
    def capture(
        cls,
        step: int,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        average: dict[str, Tensor],
        note: dict[str, Any],
    ) -> "State":
        """Copy to CPU memory."""
        slots: dict[int, dict[str, Tensor]] = {}
        if optimizer is not None:
            for index, values in optimizer.state_dict()["state"].items():
                slots[index] = _copies(values)
        return cls(step, _copies(model.state_dict()), slots, _copies(average), note)

    def to_bytes(self) -> bytes:
        tensors = {f"model/{k}": v for k, v in self.model.items()}
        tensors.update({f"average/{k}": v for k, v in self.average.items()})
        for index, values in self.optimizer.items():
            tensors.update({f"optimizer/{index}/{k}": v for k, v in values.items()})
        # One metadata key only: safetensors writes several in no fixed order, and states are compared byte by byte.
        return save(tensors, {"crossover": json.dumps({"step": self.step, "note": self.note}, sort_keys=True)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "State":
        tensors = load(data)
        length = int.from_bytes(data[:8], "little")
        metadata = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["crossover"])
        state = cls(int(metadata["step"]), {}, note=metadata["note"])
        for key, tensor in tensors.items():
            kind, name = key.split("/", 1)
            if kind in ("model", "average"):
                getattr(state, kind)[name] = tensor
            else:
                index, slot = name.split("/", 1)
                state.optimizer.setdefault(int(index), {})[slot] = tensor
        return state


def _copies(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    return {k: v.detach().cpu().clone().contiguous() for k, v in tensors.items() if isinstance(v, Tensor)}


def read_state(store: Store, key: str, sha256: str = "") -> State | None:
    """The state at ``key``, or None. Raises BadInput when the file is damaged, or is not the one of this sha256."""
    data = store.get(key)
    if data is None:
        return None
    try:
        if sha256 and hashlib.sha256(data).hexdigest() != sha256:
            raise ValueError("its checksum differs")
        return State.from_bytes(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise BadInput(
            f"The state {store.describe(key)} is damaged ({error}): delete it and its .json, and it will be remade."
        ) from error


def read_end_state(store: Store, address_key: str) -> State | None:
    """The state in which a finished segment ended, as its record knows it."""
    record = read_record(store, address_key)
    return read_state(store, state_key(address_key), record.state_sha256 if record else "")


def load_optimizer(optimizer: torch.optim.Optimizer, slots: dict[int, dict[str, Tensor]]) -> None:
    """Put saved slots back; the groups' settings stay those of the recipe."""
    plain = optimizer.state_dict()
    optimizer.load_state_dict({"state": slots, "param_groups": plain["param_groups"]})
