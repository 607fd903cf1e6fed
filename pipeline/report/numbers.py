"""Numbers as people read them: ``3.2 PFLOPs``, ``12.4 k``, ``1.4 h``, ``12.3 %``. Missing is a dash."""

import math
from typing import Any

MISSING = "–"
JOIN = "\u00a0"  # no-break space: keeps a number and its unit on one line
_STEPS = [(1e24, "Y"), (1e21, "Z"), (1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")]


def finite(value: Any) -> float | None:
    """The number, or None for what is not a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def digits(value: Any, significant: int = 3) -> str:
    """Plain decimal notation with so many significant digits; powers of ten only far away from 1."""
    number = finite(value)
    if number is None:
        return MISSING
    if number and not 1e-4 <= abs(number) < 1e6:
        mantissa, exponent = f"{number:.{significant - 1}e}".split("e")
        return f"{mantissa.replace('-', '−')}·10{_superscript(int(exponent))}"
    places = max(0, significant - 1 - math.floor(math.log10(abs(number)))) if number else 0
    return f"{number:,.{places}f}".replace("-", "−")


def scaled(value: Any, unit: str = "", significant: int = 3) -> str:
    """With an SI prefix: 3.2e15, "FLOPs" -> 3.2 PFLOPs."""
    number = finite(value)
    if number is None:
        return MISSING
    for index, (size, name) in enumerate(_STEPS):
        short = f"{number / size:.{significant}g}"
        if abs(float(short)) < 1:
            continue
        if float(short) >= 1000 and index:  # 999.6 k is 1 M
            size, name = _STEPS[index - 1]
        return f"{_trim(number / size, significant)}{JOIN}{name}{unit}"
    text = _trim(number, significant)
    return f"{text}{JOIN}{unit}" if unit else text


def flops(value: Any) -> str:
    return scaled(value, "FLOPs")


def samples(value: Any) -> str:
    return scaled(value)


def duration(seconds: Any) -> str:
    """Of a time in seconds."""
    number = finite(seconds)
    if number is None:
        return MISSING
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if number >= size:
            return f"{_trim(number / size, 3)}{JOIN}{unit}"
    return f"{_trim(number, 3)}{JOIN}s"


def percent(value: Any) -> str:
    number = finite(value)
    return MISSING if number is None else f"{number * 100:.1f}{JOIN}%"


def share(value: Any) -> str:
    """A share of 1 in whole percent."""
    number = finite(value)
    return MISSING if number is None else f"{number * 100:.0f}{JOIN}%"


def is_share(metric: str) -> bool:
    """Errors and accuracies are shares of 1 and are shown in percent."""
    return metric.endswith(("error", "accuracy", "acc"))


def measured(metric: str, value: Any) -> str:
    return percent(value) if is_share(metric) else digits(value)


def along(axis: str, value: Any) -> str:
    """A position on an axis of the analysis, with its unit."""
    if axis.startswith("compute"):
        return flops(value)
    return f"{samples(value)} images" if axis.startswith("data") else digits(value)


def interval(low: Any, high: Any, show: Any = digits) -> str:
    """``[low, high]``, or nothing when either end is not known."""
    if finite(low) is None or finite(high) is None:
        return ""
    return f"[{show(low)}, {show(high)}]"


def words(name: str) -> str:
    """A field's name for people: val_error -> validation error."""
    known = {"val": "validation", "lr": "learning rate", "fewshot": "few-shot", "finetune": "fine-tuning"}
    return " ".join(known.get(part, part) for part in name.split("_"))


def _trim(number: float, significant: int) -> str:
    text = digits(number, significant)
    return text.rstrip("0").rstrip(".") if "." in text and "·" not in text else text


def _superscript(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
