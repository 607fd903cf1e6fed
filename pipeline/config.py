"""Config: Hydra at the edge. Presets and overrides go in, plain dataclasses come out; nothing edits them afterwards.

This file and cli.py are the only ones that know hydra. Dataclasses are the only schema and the only defaults; the
YAML files under conf/ hold presets. Unknown keys and wrong types are refused everywhere, with the nearest valid name.
"""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

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
    fixed: list[str] = []
    swept: list[list[str]] = []
    for given in _typed_entries(overrides):
        text, override = _parse(given)
        key = override.key_or_group
        if not override.is_sweep_override():
            fixed.append(text)
        elif key in ("arch", "data", "transfer"):
            fixed.append(f"{key}=[{','.join(dict.fromkeys(_alternatives(text, override)))}]")
        elif key == "recipe" or key.startswith("recipe."):
            swept.append([f"{key}={value}" for value in _alternatives(text, override)])
        else:
            raise BadInput(
                f"{text!r} sweeps {key}, but only arch and recipe fields are swept; seeds, sizes and budgets are "
                f"lists: write {key}=[...]; and a comma that belongs to a name needs quotes within quotes."
            )
    return fixed, swept


def _parse(text: str) -> tuple[str, Any]:
    """The override, as written or, where Hydra's grammar has no such character (ü, parentheses), with quotes."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, sign, value = text.partition("=")
    escaped = value.replace("'", "\\'")
    for attempt in (text, f"{key}='{escaped}'") if sign else (text,):
        try:
            return attempt, OverridesParser.create().parse_override(attempt)
        except HydraException:
            continue
    raise BadInput(f"{text!r} is not an override: write key=value, for example study=quickstart.")


def _alternatives(text: str, override: Any) -> list[str]:
    from hydra.errors import HydraException

    try:
        return list(override.sweep_string_iterator())
    except HydraException as error:
        raise BadInput(f"{text}: only values in a row are swept, as in arch=vit_nano,resnet_nano.") from error


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
    from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    try:
        return compose(PRIMARY, overrides=overrides)
    except MissingConfigException as error:
        raise BadInput(_missing_preset(error)) from error
    except ConfigCompositionException as error:
        raise BadInput(_wrong_override(overrides, error)) from error
    except OmegaConfBaseException as error:
        raise BadInput(f"A preset does not fit the schema: {_first_line(error)}.") from error
    except YAMLError as error:
        raise BadInput(f"A preset is no valid YAML: {' '.join(str(error).split())}.") from error
    except (ValueError, HydraException) as error:
        raise BadInput(f"{_culprit(overrides)}: it does not fit ({_first_line(error)}).") from error


def _culprit(overrides: list[str]) -> str:
    """The override without which the rest composes; all of them when there is no such one."""
    for text in overrides:
        try:
            _compose([other for other in overrides if other != text])
        except BadInput:
            continue
        return text
    return " ".join(overrides)


def _missing_preset(error: Any) -> str:
    wanted = error.missing_cfg_file or str(error)
    group, _, name = str(wanted).rpartition("/")
    options = error.options or [path.stem for path in (PRESETS / group).glob("*.yaml")]
    hint = nearest(name, options) if options else "there is no such group"
    return f"There is no preset {group}={name}: {hint}"


def _wrong_override(overrides: list[str], error: Exception) -> str:
    """Which override is at fault and what to write instead."""
    for text in overrides:
        key = text.split("=", 1)[0].lstrip("+~")
        if f"'{key}'" in str(error) or f" {text}" in str(error):
            return f"{text}: {_fault(text, key, overrides, str(error), str(error.__cause__ or ''))}"
    return _wrong_preset(error)


def _fault(text: str, key: str, overrides: list[str], said: str, cause: str) -> str:
    """What is wrong with one override: it takes away too much, its key is unknown, or its value does not fit."""
    if text.startswith("~"):
        return "only an entry of study.sweeps or study.tasks can be taken away: write ~study.sweeps.NAME."
    if "already at" in said:
        return f"{key} is there already: write it without the +."
    full = _full_key(cause) or key
    group, *below = key.split(".")
    if group in ("archs", "data") and below and below[0] not in _entries(group, overrides, text):
        choice = "arch" if group == "archs" else group
        return f"the study has no {below[0]!r} in {group}: choose it with {choice}=..."
    if "Key" not in cause[:4] and cause:
        why = _first_line(cause)
        return "it must not be null." if "is not Optional" in why else f"{why}."
    if "reference_type=Dict" in cause:
        above = full.rpartition(".")[0]
        hint = nearest(full, [f"{above}.{name}" for name in _entries(above, overrides, text)])
        hint += "" if hint.endswith(("?", ".")) else "."
        return f"there is no {full!r}: {hint} To add an entry write +{full}=..., to take one away ~{above}.NAME."
    return f"there is no key {full!r}: {_in_a_group(key, overrides, text) or _nearest_key(full)}"


def _full_key(cause: str) -> str:
    """The key that OmegaConf names, or nothing."""
    named = re.search(r"^ *full_key: *(\S+)", cause, re.MULTILINE)
    return named[1] if named else ""


def _entries(path: str, overrides: list[str], culprit: str) -> list[str]:
    """Names in a dictionary of the config (archs, data, study.sweeps, study.tasks)."""
    try:
        node = _compose([text for text in overrides if text != culprit])
        for part in path.split("."):
            node = node[part]
        return [str(name) for name in node]
    except (BadInput, KeyError, TypeError):
        return []


def _wrong_preset(error: Exception) -> str:
    """A preset file whose key or value the schema does not have: file, key, and the nearest valid key."""
    lines = [line.strip() for line in f"{error}\n{error.__cause__ or ''}".splitlines() if line.strip()]
    if twice := re.search(r"([\w/.]+) appears more than once", lines[0]):
        brought = ", and not in data= where a preset of transfer= brings it along" if "schema/data@" in lines[0] else ""
        return f"{twice[1].rpartition('/')[2]} is chosen twice: name it once{brought}."
    full = _full_key("\n".join(lines))
    what = next((line for line in lines[1:] if not line.endswith(":") and not line.startswith("full_key:")), "")
    where = lines[0].split(":")[0]
    if not what:
        return f"{lines[0].rstrip('.')}."
    hint = f" ({full}: {_nearest_key(full)})" if full and what.startswith("Key") else f" ({full})" if full else ""
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


def _nearest_key(key: str) -> str:
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


def _first_line(error: BaseException | str) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
