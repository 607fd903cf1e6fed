"""Schema: the dataclasses that one command's input must fit, told to Hydra; the presets' folder."""

from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

from hydra.core.config_store import ConfigStore

from data_prep.sources import SOURCES, Source
from pipeline.arch import KINDS, Arch
from pipeline.errors import nearest
from pipeline.placement import Placement
from pipeline.price import Device
from pipeline.recipe import Recipe
from pipeline.study import Study, Sweep
from pipeline.task import Task
from pipeline.track import Track

PRESETS = Path(__file__).resolve().parent.parent / "conf"


@dataclass
class Config:
    """One command's input."""

    study: Study = field(default_factory=Study)
    archs: dict[str, Arch] = field(default_factory=dict)
    """By preset name; chosen with ``arch=a,b``."""
    recipe: Recipe = field(default_factory=Recipe)
    data: dict[str, Source] = field(default_factory=dict)
    """By preset name."""
    placement: Placement = field(default_factory=Placement)
    device: Device = field(default_factory=Device)
    track: Track = field(default_factory=Track)


def register() -> None:
    """Let presets and overrides be checked against the dataclasses; doing it twice does no harm."""
    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(group="schema/task", name="default", node=Task)
    store.store(group="schema/sweep", name="default", node=Sweep)
    for name, arch in KINDS.items():
        store.store(group="schema/arch", name=name, node=arch)
    for name, source in SOURCES.items():
        store.store(group="schema/data", name=name, node=source)


def nearest_key(key: str) -> str:
    """The nearest valid key, searched in the schema where the path stops being valid."""
    hint: Any = Config
    path = key.split(".")
    for depth, part in enumerate(path):
        if get_origin(hint) is dict:
            hint = get_args(hint)[1]
            continue
        hints = _field_types(hint)
        if part not in hints:
            prefix = "".join(f"{above}." for above in path[:depth])
            return nearest(prefix + part, [prefix + name for name in hints])
        hint = hints[part]
    return (
        f"{path[1]} is not chosen with {path[0].removesuffix('s')}=..." if len(path) > 2 else "it does not fit there."
    )


def _field_types(hint: Any) -> dict[str, Any]:
    """Field -> type of a dataclass, and of all its kinds for an Arch or a Source; nothing of other types."""
    kinds = {Arch: KINDS.values(), Source: SOURCES.values()}.get(hint, [hint])
    found = [get_type_hints(kind) for kind in kinds if is_dataclass(kind)]
    return {name: type_ for types in found for name, type_ in types.items() if get_origin(type_) is not ClassVar}
