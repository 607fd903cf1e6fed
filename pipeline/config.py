"""Config: Hydra at the edge. Presets and overrides go in, plain dataclasses come out; nothing edits them afterwards.

This file, schema, compose and overrides are the only ones that know hydra. Dataclasses are the only schema and the
only defaults; the YAML files under conf/ hold presets. Unknown keys and wrong types are refused everywhere.
"""

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from omegaconf import OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from pipeline.compose import compose, first_line
from pipeline.errors import BadInput, nearest
from pipeline.overrides import split, spread_arch
from pipeline.recipe import Recipe
from pipeline.schema import PRESETS, Config, register


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
    register()
    if presets is not None and not presets.is_dir():
        raise BadInput(f"--conf {presets} is not a folder: name one with groups such as study/ or arch/.")
    if not PRESETS.is_dir():
        raise BadInput(f"The presets folder {PRESETS} is missing: install Crossover again.")
    overrides = list(overrides)
    fixed, swept = split(overrides)
    if presets is not None:
        fixed.append(f"hydra.searchpath=[file://{presets.resolve()}]")
    with initialize_config_dir(str(PRESETS), version_base="1.3"):
        fixed = spread_arch(fixed)
        points = [compose([*fixed, *point]) for point in itertools.product(*swept)]
    configs = [_to_config(point) for point in points]
    for config in configs:
        _refuse_idle_rate(overrides, config)
        _refuse_foreign_rate(config, presets)
    return Loaded(configs[0], [c.recipe for c in configs], OmegaConf.to_yaml(points[0]))


def _refuse_idle_rate(overrides: list[str], config: Config) -> None:
    """``recipe.lr`` would be read by nobody where the recipe has a rate for the arch itself."""
    own = [name for name in config.archs if name in config.recipe.lr_arch]
    if own and any(text.lstrip("+").startswith("recipe.lr=") for text in overrides):
        raise BadInput(
            f"recipe.lr does nothing for {', '.join(own[:3])}{' ...' if own[3:] else ''}, as the recipe has a rate for "
            f"each: set recipe.lr_arch.{own[0]}=..., or take another recipe."
        )


def _refuse_foreign_rate(config: Config, presets: Path | None) -> None:
    """A recipe may have rates for archs that the study leaves out, as the paper's do, but not for unknown ones."""
    if set(config.recipe.lr_arch) <= set(config.archs):
        return
    known = {*config.archs, *_arch_names(PRESETS), *(_arch_names(presets) if presets else ())}
    for name in config.recipe.lr_arch:
        if name not in known:
            raise BadInput(f"recipe.lr_arch has no arch {name!r}: {nearest(name, known)}")


def _arch_names(presets: Path) -> Iterable[str]:
    """Names under which the presets of a folder put their archs: each file's own word, else its name."""
    for path in (presets / "arch").rglob("*.yaml"):
        package = re.search(r"^# @package archs\.(\w+)", path.read_text(errors="replace"), re.MULTILINE)
        yield package[1] if package else path.stem


def _to_config(composed: Any) -> Config:
    """Plain objects; every key that the schema does not have is refused."""
    try:
        built = OmegaConf.to_object(composed)
    except MissingMandatoryValue as error:
        raise BadInput(f"A value is missing: {first_line(error)}.") from error
    except OmegaConfBaseException as error:
        raise BadInput(f"The config does not fit: {first_line(error)}.") from error
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
