"""Cell: one value of a table as a number or a name, or the reason why it is neither."""

import math
import re
from decimal import Decimal
from numbers import Real
from typing import Any

MISSING = ("", "nan", "na", "n/a", "null", "none", "<na>", "nat")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
LIMITS = {"x": (1e-9, 1e33), "y": (1e-12, 1e12), "weight": (1e-12, 1e12)}
"""What a number of each role can be and still be fitted; no real study comes near."""


def number(cell: Any, role: str, zero: bool = False) -> tuple[float, str]:
    """(value, why it cannot be fitted or nothing). ``zero`` is allowed where its logarithm is not taken."""
    value, wrong = _parsed(cell)
    if wrong:
        return math.nan, wrong
    if value == 0:
        return value, "" if zero else "is 0, which has no logarithm"
    if value < 0:
        return value, f"is negative ({value:g}), which has no logarithm"
    low, high = LIMITS[role]
    return value, "" if low <= value <= high else f"is {value:g}, outside {low:g} to {high:g}"


def name(cell: Any) -> tuple[str, str]:
    """(text, why it is none or nothing); whole numbers read alike however they are stored."""
    cell = _plain(cell)
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    text = "" if cell is None else str(cell).strip()
    return text, "is empty" if text.lower() in MISSING else ""


def alike(cell: Any, wanted: str) -> bool:
    """Whether a cell is what a filter asks for, as text or as a number."""
    value, wrong = _parsed(cell)
    other, no_number = _parsed(wanted)
    return name(cell)[0] == wanted.strip() or (not wrong and not no_number and value == other)


def _parsed(cell: Any) -> tuple[float, str]:
    cell = _plain(cell)
    if isinstance(cell, str):
        cell = cell.strip()
        if cell.lower().lstrip("+-") in ("inf", "infinity"):
            return math.inf, "is infinite"
    if cell is None or (isinstance(cell, str) and cell.lower() in MISSING):
        return math.nan, "is NaN" if isinstance(cell, str) and cell.lower() == "nan" else "is empty"
    if isinstance(cell, bool) or not isinstance(cell, str | Real | Decimal):
        return math.nan, f"is {_short(cell)}, not a number"
    if isinstance(cell, str) and not NUMBER.fullmatch(cell):
        return math.nan, f"is text ({_short(cell)}), not a number"
    try:
        value = float(cell)
    except (OverflowError, ValueError):
        return math.inf, "is too large for a number"
    if math.isnan(value):
        return value, "is NaN"
    return value, "is infinite" if math.isinf(value) else ""


def _plain(cell: Any) -> Any:
    """Scalars of numpy as Python's."""
    return cell.item() if type(cell).__module__ == "numpy" and getattr(cell, "ndim", 1) == 0 else cell


def _short(cell: Any) -> str:
    shown = repr(cell)
    return shown if len(shown) <= 30 else shown[:27] + "..."
