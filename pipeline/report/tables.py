"""The tables and tiles of the page as plain rows of text; escaping is left to the template."""

from typing import Any

from pipeline.report import numbers, series, theme
from pipeline.report.charts import held_out

Row = dict[str, Any]
# What a reader scans first. Every other recorded field is in the trial's own sheet.
TRIAL_COLUMNS = {
    "digest": "Trial",
    "family": "Family",
    "arch": "Arch",
    "work": "Work",
    "samples": "Images",
    "budget": "Seen",
    "train_flops": "Compute",
    "seed": "Seed",
    "value": "Result",
    "device_seconds": "Time",
    "outcome": "Outcome",
}
# (text, superscript) pairs, and LaTeX; a form that is not here is shown by its name
_FORMULAS = {
    "power": ([("A·x", "−α")], r"$A x^{-\alpha}$"),
    "power_floor": ([("E + A·x", "−α")], r"$E + A x^{-\alpha}$"),
    "shifted": ([("E + A·(x + d)", "−α")], r"$E + A (x + d)^{-\alpha}$"),
}
_GREEK = {"alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "sigma": "σ"}


def trials(rows: list[Row], metric: str) -> dict[str, Any]:
    """Columns and rows for the page's script: each cell is ``[what to sort by, what to show]``.

    ``all`` holds every recorded value in the order of ``fields``; ``same`` what all rows share.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    same = {n: rows[0].get(n) for n in names if len(rows) > 1 and all(r.get(n) == rows[0].get(n) for r in rows)}
    fields = [name for name in names if name not in same]
    shown = []
    for row in sorted(rows, key=_trial_order):
        work, value, text = _work(row, metric)
        shown.append(
            {
                "family": row.get("family") or "",
                "outcome": row.get("outcome") or "",
                "digest": row.get("digest") or "",
                "cells": [
                    [row.get("digest"), str(row.get("digest") or "")[:8] or numbers.MISSING],
                    [row.get("family"), theme.title(str(row.get("family") or numbers.MISSING))],
                    [row.get("arch"), str(row.get("arch") or numbers.MISSING)],
                    [work, work],
                    [numbers.finite(row.get("samples")), numbers.samples(row.get("samples"))],
                    [numbers.finite(row.get("budget")), numbers.samples(row.get("budget"))],
                    [numbers.finite(row.get("train_flops")), numbers.flops(row.get("train_flops"))],
                    [row.get("seed"), numbers.MISSING if row.get("seed") is None else str(row["seed"])],
                    [value, text],
                    [numbers.finite(row.get("device_seconds")), numbers.duration(row.get("device_seconds"))],
                    [row.get("outcome"), str(row.get("outcome") or numbers.MISSING)],
                ],
                "all": [row.get(name) for name in fields],
            }
        )
    head = {"columns": list(TRIAL_COLUMNS), "titles": list(TRIAL_COLUMNS.values())}
    return {**head, "fields": fields, "same": same, "rows": shown}


def laws(analysis: dict[str, Any]) -> list[Row]:
    """One row a law: formula, each parameter with its interval, and the error where it was held out."""
    found = []
    for law in series.laws(analysis):
        intervals = law.get("intervals") or {}
        params = [
            (_GREEK.get(name, name), numbers.digits(value), numbers.interval(*_pair(intervals.get(name))))
            for name, value in (law.get("params") or {}).items()
        ]
        form = str(law.get("form") or "")
        formula = _FORMULAS.get(form, ([(numbers.words(form), "")], numbers.words(form)))
        found.append(
            {
                "family": law.get("family"),
                "title": theme.title(str(law.get("family") or "")),
                "axis": numbers.words(str(law.get("axis") or "")),
                "form": formula[0],
                "latex": formula[1],
                "params": params,
                "level": law.get("level"),
                "points": law.get("n_points"),
                "runs": law.get("n_runs"),
                "status": numbers.words(str(law.get("status") or numbers.MISSING)),
                "holdout": [_held_out(law, h) for h in held_out(law)],
            }
        )
    return found


def crossings(analysis: dict[str, Any], part: str = "crossings") -> list[Row]:
    """Of the frontiers, or with ``matched`` those at equal size and equal compute."""
    found = []
    for crossing in analysis.get(part) or []:
        axis = str(crossing.get("axis") or "")
        crosses = crossing.get("answer") == "crosses"
        share = numbers.finite(crossing.get("probability_in_range"))
        ends = [crossing.get(end) if crosses else None for end in ("lo", "hi")]
        found.append(
            {
                "pair": [str(crossing.get("a") or ""), str(crossing.get("b") or "")],
                "titles": [theme.title(str(crossing.get(k) or "")) for k in ("a", "b")],
                "axis": numbers.words(axis),
                "held": _held_equal(crossing),
                "ever": numbers.share(numbers.finite(crossing.get("probability_ever"))),
                "ratio": str(crossing.get("ratio_sentence") or ""),
                "answer": str(crossing.get("answer") or numbers.MISSING),
                "at": numbers.along(axis, crossing.get("x")) if crosses else numbers.MISSING,
                "interval": numbers.interval(*ends, show=lambda v, a=axis: numbers.along(a, v)),
                "level": crossing.get("level"),
                "probability": numbers.share(share),
                "sentence": str(crossing.get("sentence") or ""),
            }
        )
    return found


def _held_equal(crossing: Row) -> str:
    if crossing.get("matched") == "size":
        archs = crossing.get("archs") or {}
        return " and ".join(str(archs.get(crossing.get(side))) for side in ("a", "b"))
    limit = numbers.finite(crossing.get("limit"))
    return f"runs of about {numbers.along('compute', limit)}" if limit else ""


def exclusions(rows: list[Row], analysis: dict[str, Any]) -> list[Row]:
    """Every trial that is no point of a law although planned as one, grouped by what happened and why."""
    by_run = {str(r.get("digest") or ""): r for r in rows}
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.get("outcome") in ("failed", "diverged"):
            key = (str(row["outcome"]), str(row.get("reason") or "no reason recorded"))
            groups.setdefault(key, []).append(_run(str(row.get("digest") or ""), row, str(row.get("log") or "")))
    for law in series.laws(analysis):
        for left_out in law.get("excluded") or []:
            run = str(left_out.get("run") or "")
            key = (
                f"left out of the {law.get('axis')} law",
                str(left_out.get("reason") or "no reason recorded"),
            )
            groups.setdefault(key, []).append(_run(run, by_run.get(run) or {"family": law.get("family")}, ""))
    return [{"what": what, "reason": reason, "runs": runs} for (what, reason), runs in groups.items()]


def tiles(rows: list[Row], study: dict[str, Any]) -> list[Row]:
    """The summary: what was run and what it cost. ``bar`` is a share to draw, when there is one."""
    totals = study.get("totals") or {}
    count = {o: sum(r.get("outcome") == o for r in rows) for o in ("done", "diverged", "failed")}
    planned = numbers.finite(totals.get("trials_planned"))
    settled = count["done"] + count["diverged"]
    notes = [f"{count[o]} {o}" for o in ("diverged", "failed") if count[o]] or ["none diverged, none failed"]
    made: list[Row] = [
        {
            "label": "Trials done",
            "value": f"{settled}" if planned is None else f"{settled} of {int(planned)}",
            "note": ", ".join(notes),
            "bar": settled / planned if planned else None,
        }
    ]
    executed, alone = (numbers.finite(totals.get(k)) for k in ("flops_executed", "flops_unshared"))
    if executed is None and rows:
        note, alone = "sum over trials; shared work counted each time", None
        executed = sum(numbers.finite(r.get("train_flops")) or 0 for r in series.finished(rows, "pretrain"))
    elif alone and executed is not None and alone > executed:
        note = f"{numbers.share(1 - executed / alone)} saved by sharing; {numbers.flops(alone)} without"
    elif executed is None:
        note = "no trial has run yet"
    else:
        note = "nothing was shared between trials"
    bar = executed / alone if executed and alone else None
    made.append({"label": "Training compute", "value": numbers.flops(executed), "note": note, "bar": bar})
    seconds = totals.get("device_seconds")
    devices = sorted({str(r["device"]) for r in rows if r.get("device")})
    made.append({"label": "Device time", "value": numbers.duration(seconds), "note": ", ".join(devices)})
    pretrained = series.finished(rows, "pretrain")
    seeds = {r.get("seed") for r in pretrained}
    places = {(r.get("arch"), r.get("samples"), r.get("budget"), r.get("lr")) for r in pretrained}
    each = f"{len(pretrained) / len(places):.2g} runs a point on average" if places else "no finished run yet"
    made.append({"label": "Seeds", "value": str(len(seeds)), "note": each})
    return made


def _run(run: str, row: Row, log: str) -> Row:
    family = str(row.get("family") or "")
    about = [str(row["arch"])] if row.get("arch") else []
    about += [f"{numbers.samples(row['budget'])} seen"] if row.get("budget") else []
    about += [f"seed {row['seed']}"] if row.get("seed") is not None else []
    known = "digest" in row
    return {
        "run": run, "family": family, "title": theme.title(family), "about": ", ".join(about), "log": log,
        "known": known,
    }  # fmt: skip


def _work(row: Row, metric: str) -> tuple[str, float | None, str]:
    """What the trial did and the number it is judged by."""
    if row.get("kind") == "transfer":
        shots = f" {row['shots']}" if row.get("shots") else ""
        how = numbers.words(str(row.get("protocol") or "transfer"))
        rate = f" at {row['finetune_lr']:g}" if row.get("finetune_lr") else ""
        name, field = f"{row.get('task') or ''} {how}{shots}{rate}".strip(), "test_error"
    else:
        name, field = "pretrain", metric
    value = numbers.finite(row.get(field))
    return name, value, numbers.measured(field, value)


def _held_out(law: Row, held: Row) -> Row:
    metric, axis = str(law.get("metric") or ""), str(law.get("axis") or "")
    error = numbers.finite(held.get("log_error"))
    return {
        "at": numbers.along(axis, held.get("x")),
        "predicted": numbers.measured(metric, held.get("predicted")),
        "observed": numbers.measured(metric, held.get("observed")),
        "error": numbers.MISSING if error is None else f"{error:+.3f}".replace("-", "−"),
    }


def _pair(value: Any) -> tuple[Any, Any]:
    return (value[0], value[1]) if isinstance(value, list | tuple) and len(value) == 2 else (None, None)


def _trial_order(row: Row) -> tuple[Any, ...]:
    """Pre-trainings before transfers, families in the order of the question, small before large."""
    known = list(theme.TITLES)
    family = str(row.get("family") or "")
    place = [numbers.finite(row.get(k)) or 0 for k in ("params", "samples", "budget", "seed")]
    first = (row.get("kind") == "transfer", known.index(family) if family in known else len(known), family)
    return (*first, *place[:1], str(row.get("arch")), *place[1:], str(row.get("digest")))
