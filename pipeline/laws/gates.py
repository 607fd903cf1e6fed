"""Gates: what must hold before a law is fitted. Each refuses in one sentence: what, where and how to mend it."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import BadInput
from pipeline.laws import wording
from pipeline.laws.forms import Array, Form
from pipeline.laws.points import distinct

SPARE = 2
"""Distinct places asked beyond the number of parameters."""
FINISHED = ("done", "finished", "completed", "complete", "success", "succeeded", "ok")
DIVERGED = ("diverged", "nan")
SHOWN = 3
GAP = 1e5
"""A hole this wide between neighbours on an axis is two units, not one sweep."""


def of_one_kind(values: Sequence[str], noun: str, why: str) -> str:
    """The one value of a column. Raises BadInput where it holds several: runs that do not compare."""
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    if len(counts) > 1:
        shown = [f"{name or 'none given'} ({wording.counted(n, 'row')})" for name, n in sorted(counts.items())]
        raise BadInput(f"The rows mix {len(counts)} {noun}, and {why}: {'; '.join(shown)}; fit them apart.")
    return next(iter(counts), "")


def finished(outcomes: Mapping[str, str]) -> None:
    """Outcome by run. Raises BadInput where runs are neither finished nor diverged, with their count and names."""
    left = {run: outcome for run, outcome in outcomes.items() if not ended(outcome)}
    if left:
        names = [f"{run} ({outcome or 'no outcome'})" for run, outcome in list(left.items())[:SHOWN]]
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        raise BadInput(
            f"{wording.counted(len(left), 'run')} of {len(outcomes)} not finished: {', '.join(names)}{more}; wait for "
            "them, or leave them out and have them listed (--drop-bad)."
        )


def ended(outcome: str) -> bool:
    """Whether a run has a last word: it finished, or it diverged."""
    return outcome.strip().lower() in (*FINISHED, *DIVERGED)


def enough(form: Form, x: ArrayLike, who: str = "") -> None:
    """Raises BadInput for fewer distinct places than the form has parameters + 2."""
    xs = np.asarray(x, dtype=float)
    places = distinct(xs) if len(xs) else 0
    needed = form.size + SPARE
    if places < needed:
        have = f"{who} has" if who else "there are" if places != 1 else "there is"
        less = "take a form with fewer parameters or " if form.size > 2 else ""
        raise BadInput(
            f"{form.name} has {form.size} parameters and needs {needed} distinct places, and {have} {places}: {less}"
            "measure more places."
        )


def bracketed(places: ArrayLike, values: ArrayLike, what: str = "the optimum") -> int:
    """Index of the least value [n], over places [n] that need not be in order.

    Raises BadInput where it lies at either end of the places: the optimum itself may lie beyond.
    """
    at, value = np.asarray(places, dtype=float), np.asarray(values, dtype=float)
    best = int(np.argmin(value))
    low, high = float(at.min()), float(at.max())
    if at[best] in (low, high):
        end, further = ("smallest", "smaller") if at[best] == low else ("largest", "larger")
        raise BadInput(
            f"{what[:1].upper()}{what[1:]} lies on the edge of its grid, at the {end} value {at[best]:g} of "
            f"{low:g} to {high:g}: run {further} ones until it lies inside."
        )
    return best


def one_scale(values: Sequence[float], where: Sequence[str], column: str) -> None:
    """Shares lie from 0 to 1. Raises BadInput for accuracies or error rates over 1, and for percent among shares."""
    over = [i for i, value in enumerate(values) if value > 1]
    if not over:
        return
    first = over[0]
    shown = f"{where[first]}, column {column!r}: {values[first]:g} is over 1"
    if len(over) < len(values) and max(values) <= 100:
        raise BadInput(
            f"{shown}, as percent are, and {wording.counted(len(values) - len(over), 'value')} of {len(values)} lie in "
            "0 to 1: the column mixes units; write all as shares."
        )
    if not math.isfinite(max(values)) or max(values) > 100:
        raise BadInput(f"{shown}, and no accuracy or error rate is: mend it, or say --kind loss if it is none.")
    raise BadInput(f"{shown}, as percent are: divide the column by 100, or say --kind loss if it is no share.")


def one_axis(x: Array, columns: Sequence[str], source: str) -> None:
    """x [n, d]. Raises BadInput for one distinct place, and for an axis with a hole as wide as between two units."""
    if distinct(x) == 1:
        at = ", ".join(f"{column} = {value:g}" for column, value in zip(columns, x[0], strict=True))
        raise BadInput(f"{source} has one distinct place only, {at}: a law needs several.")
    for column, values in zip(columns, x.T, strict=True):
        ordered = np.sort(values)
        jump = ordered[1:] / ordered[:-1]
        if jump.max() >= GAP:
            low, high = ordered[int(jump.argmax()) :][:2]
            raise BadInput(
                f"{source}, column {column!r} jumps from {low:g} to {high:g} with nothing between, as mixed units do: "
                "write all in one unit."
            )
