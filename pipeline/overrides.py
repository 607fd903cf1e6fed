"""Overrides: the grammar of the command line, on top of Hydra's.

``arch=a,b`` chooses several, ``recipe.lr=1,2`` sweeps, ``arch.depth=6`` reaches every arch that has a depth,
``+study.tasks.NAME.data=x`` adds a typed entry, ``name=`` and ``target=`` of a foreign arch need no ``arch.``, and a
value needs no quotes.
"""

import re
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from pipeline.compose import compose
from pipeline.errors import BadInput, nearest


def split(overrides: list[str]) -> tuple[list[str], list[list[str]]]:
    """Plain overrides, and one list of alternatives for each swept recipe field.

    Hydra's sweep grammar ``arch=a,b`` selects several archs of one study; ``recipe.lr=1e-3,3e-3`` sweeps. Raises
    BadInput for what is no override, or sweeps anything else.
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
            name = text.partition("=")[0]  # with its +, for a new entry of recipe.lr_arch
            swept.append([f"{name}={value}" for value in _alternatives(text, override)])
        else:
            raise BadInput(
                f"{text!r} sweeps {key}, but only arch and recipe fields are swept; seeds, sizes and budgets are "
                f"lists: write {key}=[...]; and a comma that belongs to a name needs quotes within quotes."
            )
    return fixed, swept


def _parse(text: str) -> tuple[str, Any]:
    """The override, as written or, where Hydra's grammar has no such character (ü, parentheses), with quotes."""
    key, sign, value = text.partition("=")
    escaped = value.replace("'", "\\'")
    for attempt in (text, f"{key}='{escaped}'") if sign else (text,):
        try:
            return attempt, OverridesParser.create().parse_override(attempt)
        except HydraException:
            continue
    raise BadInput(f"{text!r} is not an override: write key=value, for example study=quickstart.")


def _alternatives(text: str, override: Any) -> list[str]:
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


def spread_arch(overrides: list[str]) -> list[str]:
    """``arch.depth=6`` means that field of every arch of the study that has it. Raises BadInput where none has."""
    overrides = _grouped(overrides)
    # The keys of ``arguments`` are not in the schema, and Hydra wants to be told that.
    overrides = [re.sub(r"^\+{0,2}(archs?\.(\w+\.)?arguments\.)", r"++\1", text) for text in overrides]
    wanted = {text: found for text in overrides if (found := re.match(r"(\+{0,2})arch\.(\w+)", text))}
    if not wanted:
        return overrides
    archs = compose([text for text in overrides if text not in wanted]).archs
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
