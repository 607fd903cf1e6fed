"""Compose: one point of the presets and overrides; for what does not fit, one sentence with the nearest valid name."""

import re
from typing import Any

import hydra
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from pipeline.errors import BadInput, nearest
from pipeline.schema import PRESETS, nearest_key

PRIMARY = "plan"


def compose(overrides: list[str]) -> Any:
    """The composed node. Raises BadInput; needs ``hydra.initialize_config_dir`` around it."""
    try:
        return hydra.compose(PRIMARY, overrides=overrides)
    except MissingConfigException as error:
        raise BadInput(_missing_preset(error)) from error
    except ConfigCompositionException as error:
        raise BadInput(_wrong_override(overrides, error)) from error
    except OmegaConfBaseException as error:
        raise BadInput(f"A preset does not fit the schema: {first_line(error)}.") from error
    except YAMLError as error:
        raise BadInput(f"A preset is no valid YAML: {' '.join(str(error).split())}.") from error
    except (ValueError, HydraException) as error:
        raise BadInput(f"{_culprit(overrides)}: it does not fit ({first_line(error)}).") from error


def _culprit(overrides: list[str]) -> str:
    """The override without which the rest composes; all of them when there is no such one."""
    for text in overrides:
        try:
            compose([other for other in overrides if other != text])
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
        why = first_line(cause)
        return "it must not be null." if "is not Optional" in why else f"{why}."
    if "reference_type=Dict" in cause:
        above = full.rpartition(".")[0]
        hint = nearest(full, [f"{above}.{name}" for name in _entries(above, overrides, text)])
        hint += "" if hint.endswith(("?", ".")) else "."
        return f"there is no {full!r}: {hint} To add an entry write +{full}=..., to take one away ~{above}.NAME."
    return f"there is no key {full!r}: {_in_a_group(key, overrides, text) or nearest_key(full)}"


def _full_key(cause: str) -> str:
    """The key that OmegaConf names, or nothing."""
    named = re.search(r"^ *full_key: *(\S+)", cause, re.MULTILINE)
    return named[1] if named else ""


def _entries(path: str, overrides: list[str], culprit: str) -> list[str]:
    """Names in a dictionary of the config (archs, data, study.sweeps, study.tasks)."""
    try:
        node = compose([text for text in overrides if text != culprit])
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
    hint = f" ({full}: {nearest_key(full)})" if full and what.startswith("Key") else f" ({full})" if full else ""
    return f"{where}: {what.rstrip('.')}{hint}."


def _in_a_group(key: str, overrides: list[str], culprit: str) -> str:
    """For a field written without its group: ``name`` is ``arch.name`` or ``study.name``."""
    try:
        node = compose([text for text in overrides if text != culprit])
    except BadInput:
        return ""
    groups = {"arch": {field_ for arch in node.archs.values() for field_ in arch}}
    groups |= {name: set(node[name]) for name in ("recipe", "study", "placement", "device", "track")}
    found = [f"'{group}.{key}'" for group, names in groups.items() if key in names]
    return f"did you mean {' or '.join(found)}?" if found else ""


def first_line(error: BaseException | str) -> str:
    """What OmegaConf says, without its full stop and the lines about keys and types below."""
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
