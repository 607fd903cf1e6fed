"""Config: Hydra at the edge. Presets and overrides go in, plain dataclasses come out; nothing edits them afterwards.

This file and cli.py are the only ones that know hydra. Dataclasses are the only schema and the only defaults; the
YAML files under conf/ hold presets. Unknown keys and wrong types are refused everywhere, with the nearest valid name.
"""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from data_prep.sources import SOURCES, Source
from pipeline.arch import KINDS, Arch
from pipeline.errors import BadInput, nearest
from pipeline.placement import Placement
from pipeline.price import Device
from pipeline.recipe import Recipe
from pipeline.study import Study, Sweep
from pipeline.task import Task
from pipeline.track import Track

PRESETS = Path(__file__).resolve().parent.parent / "conf"
PRIMARY = "plan"


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


@dataclass
class Loaded:
    config: Config
    recipes: list[Recipe]
    """One per point of a sweep over ``recipe.*``; otherwise just the config's."""
    yaml: str
    """The composed config, for people and for the report."""


def load(overrides: Iterable[str], presets: Path | None = None) -> Loaded:
    """Compose the presets and overrides. Raises BadInput, in one sentence, for anything that does not fit.

    ``presets`` is a folder of the user's own groups (study/, arch/, ...), searched before the built-in ones.
    """
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    _register()
    if presets is not None and not presets.is_dir():
        raise BadInput(f"--conf {presets} is not a folder: name one with groups such as study/ or arch/.")
    if not PRESETS.is_dir():
        raise BadInput(f"The presets folder {PRESETS} is missing: install Crossover again.")
    overrides = list(overrides)
    fixed, swept = _split(overrides)
    if presets is not None:
        fixed.append(f"hydra.searchpath=[file://{presets.resolve()}]")
    with initialize_config_dir(str(PRESETS), version_base="1.3"):
        fixed = _spread_arch(fixed)
        points = [_compose([*fixed, *point]) for point in itertools.product(*swept)]
    configs = [_to_config(point) for point in points]
    for config in configs:
        _refuse_idle_rate(overrides, config)
    return Loaded(configs[0], [c.recipe for c in configs], OmegaConf.to_yaml(points[0]))


def _refuse_idle_rate(overrides: list[str], config: Config) -> None:
    """``recipe.lr`` would be read by nobody where the recipe has a rate for the arch itself."""
    own = [name for name in config.archs if name in config.recipe.lr_arch]
    if own and any(text.lstrip("+").startswith("recipe.lr=") for text in overrides):
        raise BadInput(
            f"recipe.lr does nothing for {', '.join(own[:3])}{' ...' if own[3:] else ''}, as the recipe has a rate for "
            f"each: set recipe.lr_arch.{own[0]}=..., or take another recipe."
        )


def _register() -> None:
    from hydra.core.config_store import ConfigStore

    store = ConfigStore.instance()
    store.store(name="schema", node=Config)
    store.store(group="schema/task", name="default", node=Task)
    store.store(group="schema/sweep", name="default", node=Sweep)
    for name, arch in KINDS.items():
        store.store(group="schema/arch", name=name, node=arch)
    for name, source in SOURCES.items():
        store.store(group="schema/data", name=name, node=source)


def _split(overrides: list[str]) -> tuple[list[str], list[list[str]]]:
    """Plain overrides, and one list of alternatives for each swept recipe field.

    Hydra's sweep grammar ``arch=a,b`` selects several archs of one study; ``recipe.lr=1e-3,3e-3`` sweeps.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    fixed: list[str] = []
    swept: list[list[str]] = []
    for text in _typed_entries(overrides):
        try:
            override = OverridesParser.create().parse_override(text)
        except HydraException as error:
            raise BadInput(
                f"{text!r} is not an override: write key=value, for example study=quickstart "
                f"({str(error).splitlines()[0]})."
            ) from error
        key = override.key_or_group
        if not override.is_sweep_override():
            fixed.append(text)
        elif key in ("arch", "data", "transfer"):
            fixed.append(f"{key}=[{','.join(override.sweep_string_iterator())}]")
        elif key == "recipe" or key.startswith("recipe."):
            swept.append([f"{key}={value}" for value in override.sweep_string_iterator()])
        else:
            raise BadInput(
                f"{text!r} sweeps {key}, but only arch and recipe fields are swept; seeds, sizes and budgets are "
                f"lists: write {key}=[...]."
            )
    return fixed, swept


def _typed_entries(overrides: list[str]) -> list[str]:
    """``+study.tasks.NAME...`` and ``+study.sweeps.NAME...`` add an entry of the right type: its schema goes first."""
    entries = {"tasks": "task", "sweeps": "sweep"}
    added: dict[str, None] = {}
    plain = []
    for text in overrides:
        path = text.split("=", 1)[0].lstrip("+").split(".")
        if text.startswith("+") and len(path) >= 3 and path[0] == "study" and path[1] in entries:
            added[f"+schema/{entries[path[1]]}@study.{path[1]}.{path[2]}=default"] = None
            plain.append(text.lstrip("+"))
        else:
            plain.append(text)
    return [*added, *plain]


def _spread_arch(overrides: list[str]) -> list[str]:
    """``arch.depth=6`` means that field of every arch of the study that has it."""
    overrides = _grouped(overrides)
    # The keys of ``arguments`` are not in the schema, and Hydra wants to be told that.
    overrides = [re.sub(r"^\+{0,2}(archs?\.(\w+\.)?arguments\.)", r"++\1", text) for text in overrides]
    wanted = {text: found for text in overrides if (found := re.match(r"(\+{0,2})arch\.(\w+)", text))}
    if not wanted:
        return overrides
    archs = _compose([text for text in overrides if text not in wanted]).archs
    spread = []
    for text in overrides:
        if text not in wanted:
            spread.append(text)
            continue
        plus, field_ = wanted[text].groups()
        having = [name for name, arch in archs.items() if field_ in arch]
        if not having:
            known = {f"arch.{name}" for arch in archs.values() for name in arch}
            whose = f"no arch of the study ({', '.join(archs)}) has" if archs else "the study has no arch with"
            raise BadInput(f"{text}: {whose} a field {field_!r}: {nearest(f'arch.{field_}', known)}")
        spread += [f"{plus}archs.{name}.{text.removeprefix(f'{plus}arch.')}" for name in having]
    return spread


def _grouped(overrides: list[str]) -> list[str]:
    """``arch=timm name=resnet18``, ``arch=module target=package.Class``: their fields need no ``arch.`` before them."""
    chosen = {name for text in overrides if text.startswith("arch=") for name in re.findall(r"\w+", text[5:])}
    fields = ["name"] * ("timm" in chosen) + ["target"] * ("module" in chosen)
    if not fields:
        return overrides
    return [re.sub(rf"^(\+{{0,2}})({'|'.join(fields)}|arguments)\b", r"\1arch.\2", text) for text in overrides]


def _compose(overrides: list[str]) -> Any:
    from hydra import compose
    from hydra.errors import ConfigCompositionException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    try:
        return compose(PRIMARY, overrides=overrides)
    except MissingConfigException as error:
        raise BadInput(_missing_preset(error)) from error
    except ConfigCompositionException as error:
        raise BadInput(_wrong_override(overrides, error)) from error
    except OmegaConfBaseException as error:
        raise BadInput(f"A preset does not fit the schema: {_first_line(error)}.") from error


def _missing_preset(error: Any) -> str:
    wanted = error.missing_cfg_file or str(error)
    group, _, name = str(wanted).rpartition("/")
    options = list(error.options or [])
    hint = nearest(name, options) if options else "there is no such group"
    return f"There is no preset {group}={name}: {hint}"


def _wrong_override(overrides: list[str], error: Exception) -> str:
    """Which override is at fault and what to write instead."""
    cause = error.__cause__
    for text in overrides:
        key = text.split("=", 1)[0].lstrip("+~")
        if f"'{key}'" in str(error) or f" {text}" in str(error):
            if cause is not None and any(word in str(cause) for word in ("could not be converted", "Invalid value")):
                return f"{text}: {_first_line(cause)}."
            if "reference_type=Dict" in str(cause):
                return _missing_entry(key, text, overrides)
            hint = _in_a_group(key, overrides, text) or _nearest_key(key, overrides, text)
            return f"{text}: there is no key {key!r}: {hint}"
    return _wrong_preset(error)


def _missing_entry(key: str, text: str, overrides: list[str]) -> str:
    """A key below a dictionary (archs, data, sweeps, tasks) whose entry is not there."""
    group = key.split(".")[0]
    if group in ("data", "archs"):
        choice = "arch" if group == "archs" else group
        return f"{text}: the study has no {key.split('.')[1]!r} in {group}: choose it with {choice}=..."
    hint = _nearest_key(key, overrides, text)
    return f"{text}: {hint}{'' if hint.endswith(('.', '?')) else '.'} To add an entry write +{key}=..."


def _wrong_preset(error: Exception) -> str:
    """A preset file whose key or value the schema does not have: file, key, and the nearest valid key."""
    lines = [line.strip() for line in f"{error}\n{error.__cause__ or ''}".splitlines() if line.strip()]
    if twice := re.match(r"schema/\w+@(\S+) appears more than once", lines[0]):
        return f"{twice[1]} is chosen twice: leave it out of data=, since a preset of transfer= brings it along."
    where = lines[0].split(":")[0]
    full = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("full_key:")), "")
    what = next((line for line in lines[1:] if line.startswith(("Key", "Value", "Invalid"))), lines[0])
    hint = (
        f" ({full}: {_nearest_key(full, [], '')})" if full and what.startswith("Key") else f" ({full})" if full else ""
    )
    return f"{where}: {what.rstrip('.')}{hint}."


def _in_a_group(key: str, overrides: list[str], culprit: str) -> str:
    """For a field written without its group: ``name`` is ``arch.name`` or ``study.name``."""
    try:
        node = _compose([text for text in overrides if text != culprit])
    except BadInput:
        return ""
    groups = {"arch": {field_ for arch in node.archs.values() for field_ in arch}}
    groups |= {name: set(node[name]) for name in ("recipe", "study", "placement", "device", "track")}
    found = [f"'{group}.{key}'" for group, names in groups.items() if key in names]
    return f"did you mean {' or '.join(found)}?" if found else ""


def _nearest_key(key: str, overrides: list[str], culprit: str) -> str:
    """The nearest valid key, searched where the path stops being valid."""
    node: Any = None
    try:
        groups = [t for t in overrides if "." not in t.split("=", 1)[0] or t.startswith("hydra.searchpath=")]
        node = _compose([t for t in groups if "=" in t and t != culprit])
    except BadInput:
        return "see the presets under conf/."
    path = key.split(".")
    for depth, part in enumerate(path):
        names = [str(k) for k in node] if hasattr(node, "keys") else []
        if part not in names:
            prefix = ".".join(path[:depth])
            return nearest(".".join(path[: depth + 1]), [f"{prefix}.{n}" if prefix else n for n in names])
        node = node[part]
    return "it is no key of its group"


def _to_config(composed: Any) -> Config:
    """Plain objects; every key that the schema does not have is refused."""
    from omegaconf import OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    try:
        built = OmegaConf.to_object(composed)
    except MissingMandatoryValue as error:
        raise BadInput(f"A value is missing: {_first_line(error)}.") from error
    except OmegaConfBaseException as error:
        raise BadInput(f"The config does not fit: {_first_line(error)}.") from error
    assert isinstance(built, Config)
    container = OmegaConf.to_container(composed)
    for key, hint in _foreign(container, built, ""):
        raise BadInput(f"There is no key {key!r}: {hint}")
    return built


def _foreign(container: Any, built: Any, path: str) -> Iterable[tuple[str, str]]:
    """Keys of the container that are no field of the object: what ``+key=value`` smuggles in."""
    if is_dataclass(built) and isinstance(container, dict):
        names = list(built.__dataclass_fields__)
        for key, value in container.items():
            where = f"{path}.{key}" if path else str(key)
            if key not in names:
                yield where, nearest(where, [f"{path}.{n}" if path else n for n in names])
            else:
                yield from _foreign(value, getattr(built, str(key)), where)
    elif isinstance(built, dict) and isinstance(container, dict):
        for key, value in container.items():
            yield from _foreign(value, built[key], f"{path}.{key}")


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
