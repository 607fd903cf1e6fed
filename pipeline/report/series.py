"""From result rows to what the charts draw. Plain lists of dicts; nothing is fitted here."""

import math
from statistics import fmean
from typing import Any

from pipeline.report import numbers, theme

Row = dict[str, Any]


def metric_of(analysis: dict[str, Any], study: dict[str, Any], rows: list[Row]) -> str:
    """The study's metric; without one, the first that any row has."""
    named = analysis.get("metric") or study.get("metric")
    if named:
        return str(named)
    return next((m for m in ("val_error", "val_loss") if any(m in r for r in rows)), "val_error")


def families(rows: list[Row], analysis: dict[str, Any]) -> list[str]:
    found = {str(r["family"]) for r in rows if r.get("family")}
    return theme.order(found | {str(law["family"]) for law in laws(analysis) if law.get("family")})


def laws(analysis: dict[str, Any], axis: str | None = None) -> list[Row]:
    return [law for law in analysis.get("laws") or [] if axis in (None, law.get("axis"))]


def band(law: Row) -> dict[str, list[float]]:
    """The law's curve and interval, or an empty dict when the analysis drew none. Never made up here."""
    given = law.get("band") or {}
    xs, mid = given.get("x") or [], given.get("mid") or []
    if len(xs) < 2 or len(xs) != len(mid):
        return {}
    kept = [i for i in range(len(xs)) if _positive(xs[i]) and _positive(mid[i])]
    lo, hi = given.get("lo") or [], given.get("hi") or []
    whole = len(lo) == len(xs) == len(hi) and all(_positive(lo[i]) and _positive(hi[i]) for i in kept)
    curve = {"x": [xs[i] for i in kept], "mid": [mid[i] for i in kept]}
    return {**curve, "lo": [lo[i] for i in kept], "hi": [hi[i] for i in kept]} if whole else curve


def finished(rows: list[Row], kind: str) -> list[Row]:
    return [r for r in rows if r.get("kind", "pretrain") == kind and r.get("outcome") == "done"]


def compute_points(rows: list[Row], metric: str) -> list[Row]:
    """Finished pre-training runs on the largest subset of their data set, at their training FLOPs."""
    done = finished(rows, "pretrain")
    largest: dict[Any, float] = {}
    for row in done:
        data = row.get("dataset")
        largest[data] = max(largest.get(data, 0), numbers.finite(row.get("samples")) or 0)
    full = [r for r in done if (numbers.finite(r.get("samples")) or 0) == largest[r.get("dataset")]]
    return _points(full, "train_flops", metric)


def data_points(rows: list[Row], metric: str) -> list[Row]:
    """Finished pre-training runs whose arch, budget and learning rate were run on several subset sizes."""
    done = finished(rows, "pretrain")
    sizes: dict[tuple[Any, ...], set[Any]] = {}
    for row in done:
        sizes.setdefault(_data_key(row), set()).add(row.get("samples"))
    varied = [r for r in done if len(sizes[_data_key(r)]) > 1]
    if not varied:  # equal epochs: the budget follows the size
        archs: dict[Any, set[Any]] = {}
        for row in done:
            archs.setdefault(row.get("arch"), set()).add(row.get("samples"))
        varied = [r for r in done if len(archs[r.get("arch")]) > 1]
    return _points(varied, "samples", metric)


def transfer_panels(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    """One panel for each task and protocol: test error against the FLOPs of the parent's pre-training."""
    parents = {r.get("digest"): r for r in rows if r.get("kind", "pretrain") == "pretrain"}
    panels: dict[tuple[str, str, int], list[Row]] = {}
    for row in chosen_rates(finished(rows, "transfer")):
        parent = parents.get(row.get("parent"), {})
        merged = {**row, "x_flops": parent.get("train_flops") or row.get("train_flops")}
        shots = int(numbers.finite(row.get("shots")) or 0)
        panels.setdefault((str(row.get("task", "")), str(row.get("protocol", "")), shots), []).append(merged)
    return [(_panel_title(*key), _points(panels[key], "x_flops", "test_error")) for key in sorted(panels)]


def chosen_rates(rows: list[Row]) -> list[Row]:
    """Of a parent's fine-tunings on one task, those at the rate that is best on the dev split, in the mean over seeds.

    All of them where a dev error is missing: the test split chooses nothing.
    """
    grids: dict[tuple[Any, ...], dict[Any, list[Row]]] = {}
    for row in rows:
        key = tuple(row.get(name) for name in ("parent", "task", "protocol", "shots", "finetune_steps"))
        grids.setdefault(key, {}).setdefault(row.get("finetune_lr"), []).append(row)
    kept: list[Row] = []
    for rates in grids.values():
        errors = {rate: [numbers.finite(r.get("dev_error")) for r in tuned] for rate, tuned in rates.items()}
        scores = {rate: fmean(e for e in found if e is not None) for rate, found in errors.items() if None not in found}
        best = min(scores, key=lambda rate: (scores[rate], rate)) if len(scores) == len(rates) else None
        kept += [row for rate, tuned in rates.items() if best in (None, rate) for row in tuned]
    return kept


def means(points: list[Row]) -> list[Row]:
    """Mean, least and greatest of the seeds at one place; ``n`` says how many there are."""
    groups: dict[tuple[str, str, float], list[float]] = {}
    for point in points:
        groups.setdefault((point["family"], point["arch"], point["x"]), []).append(point["y"])
    return [
        {"family": f, "arch": a, "x": x, "y": fmean(ys), "lo": min(ys), "hi": max(ys), "n": len(ys)}
        for (f, a, x), ys in sorted(groups.items())
    ]


def curve_points(curves: list[Row], limit: int = 60) -> list[Row]:
    """Learning curves, thinned to ``limit`` points spaced evenly in log x, with what the x-axis is."""
    points: list[Row] = []
    for curve in curves:
        xs, ys = curve.get("exaflops") or curve.get("samples") or [], curve.get("loss") or []
        scale = 1e18 if curve.get("exaflops") else 1.0
        pairs = [(x * scale, y) for x, y in zip(xs, ys, strict=False) if _positive(x) and _positive(y)]
        for i in _log_spaced(len(pairs), limit):
            points.append({**_label(curve), "x": pairs[i][0], "y": pairs[i][1]})
    return points


def _data_key(row: Row) -> tuple[Any, ...]:
    return row.get("arch"), row.get("budget"), row.get("lr"), row.get("dataset")


def _points(rows: list[Row], x: str, y: str) -> list[Row]:
    points = [
        {
            **_label(row),
            "x": float(row[x]),
            "y": float(row[y]),
            "seed": row.get("seed"),
            "params": numbers.scaled(row.get("params")),
            "saw": numbers.samples(row.get("budget")),
        }
        for row in rows
        if _positive(row.get(x)) and _positive(row.get(y))
    ]
    return sorted(points, key=lambda p: (p["family"], p["arch"], p["x"], str(p["seed"]), p["run"]))


def _label(row: Row) -> Row:
    return {
        "family": str(row.get("family", "")),
        "arch": str(row.get("arch", "")),
        "run": str(row.get("digest", "")),
    }


def _panel_title(task: str, protocol: str, shots: int) -> str:
    how = f"{shots}-shot" if shots and protocol == "fewshot" else numbers.words(protocol)
    return f"{task}, {how}" if task else how


def _log_spaced(count: int, limit: int) -> list[int]:
    if count <= limit:
        return list(range(count))
    return sorted({round(math.exp(math.log(count) * k / (limit - 1))) - 1 for k in range(limit)})


def _positive(value: Any) -> bool:
    number = numbers.finite(value)
    return number is not None and number > 0
