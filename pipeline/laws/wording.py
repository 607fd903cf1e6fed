"""Wording: numbers and names as the sentences of an Analysis say them."""

import math

NAMES = {"vit": "ViT", "resnet": "ResNet", "hybrid": "Hybrid"}
METRICS = {"val_error": "validation error", "val_loss": "validation loss", "test_error": "test error"}
_COMPUTE = [(1e24, "YFLOPs"), (1e21, "ZFLOPs"), (1e18, "EFLOPs"), (1e15, "PFLOPs"), (1e12, "TFLOPs"), (1e9, "GFLOPs")]
_COMPUTE += [(1e6, "MFLOPs"), (1e3, "kFLOPs"), (1.0, "FLOPs")]
_DATA = [(1e9, "billion images"), (1e6, "million images"), (1.0, "images")]
AXIS = {"compute": "training compute", "data": "unique training images"}


def family(name: str) -> str:
    return NAMES.get(name, name)


def metric(name: str) -> str:
    return METRICS.get(name, name.replace("_", " "))


def place(axis: str, x: float) -> str:
    """3.1e15 on compute -> 3.1 PFLOPs; 12400 on data -> 12,000 images."""
    number, unit = _in_unit(x, _unit(axis, x))
    return f"{number} {unit}"


def span(axis: str, x: float, lo: float, hi: float) -> str:
    """``1.2 to 9.8`` in the unit of x where that reads well, else each end with its own unit."""
    unit = _unit(axis, x)
    if all(_unit(axis, v) == unit for v in (lo, hi)) or (
        axis != "data" and lo / unit[0] >= 0.01 and hi / unit[0] < 1e4
    ):
        return f"{_in_unit(lo, unit)[0]} to {_in_unit(hi, unit)[0]}"
    return f"{place(axis, lo)} to {place(axis, hi)}"


def stretch(axis: str, lo: float, hi: float) -> str:
    """A range with units: ``0.12 to 9.8 PFLOPs``."""
    unit = _unit(axis, hi)
    if axis == "data" or lo / unit[0] >= 0.01:
        return f"{_in_unit(lo, unit)[0]} to {_in_unit(hi, unit)[0]} {unit[1]}"
    return f"{place(axis, lo)} to {place(axis, hi)}"


def level(share: float) -> str:
    return f"{100 * share:.3g} %"


def chance(share: float) -> str:
    """A probability from draws: never a bare 0 or 100 %, which draws cannot show."""
    if share < 0.01:
        return "under 1 %"
    return "over 99 %" if share > 0.99 else f"{100 * share:.0f} %"


def measured(name: str, value: float) -> str:
    """Errors in percent, losses plain."""
    return f"{number(100 * value, 3)} %" if name.endswith("error") else number(value, 3)


def times(factor: float) -> str:
    return f"{number(factor)} times"


def number(value: float, significant: int = 2) -> str:
    """Plain digits, thousands separated: 0.012, 3.1, 12,000."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if not 1e-4 <= abs(value) < 1e7:
        return f"{value:.{significant - 1}e}"
    places = significant - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    shown = f"{rounded:,.{max(0, places)}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1] if names else "none"


def _unit(axis: str, x: float) -> tuple[float, str]:
    steps = {"compute": _COMPUTE, "data": _DATA}.get(axis, [(1.0, "")])
    return next((step for step in steps if x >= step[0] * 0.9995), steps[-1])


def _in_unit(x: float, unit: tuple[float, str]) -> tuple[str, str]:
    return number(x / unit[0]), unit[1]
