"""Analysis: from result rows to laws, crossovers, the headline and the reporting checklist; all of it plain JSON."""

import itertools
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from pipeline.errors import BadInput
from pipeline.laws.bootstrap import DRAWS, FamilyFit, fit_family
from pipeline.laws.crossover import LEVEL, TITLES, Crossing, crossing
from pipeline.laws.forms import POWER, POWER_FLOOR
from pipeline.laws.point import Exclusion, Point

BAND_POINTS = 60
BEYOND = 3.0
"""The band is drawn this factor past the last point, and marked as extrapolation from there."""
ORDER = ("vit", "hybrid", "resnet")


@dataclass
class Law:
    family: str
    axis: str
    metric: str
    form: str
    params: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    level: float
    status: str
    n_points: int
    """Configurations on the frontier."""
    n_runs: int
    """Runs among them; seeds count."""
    band: dict[str, list[float]]
    x_max: float
    """Last x that was fitted; the curve beyond it is extrapolation."""
    holdout: dict[str, Any] | None = None
    excluded: list[dict[str, str]] = field(default_factory=list)
    delta: float = 0.0


@dataclass
class Analysis:
    metric: str
    laws: list[Law] = field(default_factory=list)
    crossings: list[Crossing] = field(default_factory=list)
    headline: str = ""
    checklist: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    """Laws that could not be fitted, and why."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), allow_nan=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Analysis":
        plain = json.loads(text)
        laws = [
            Law(**{**law, "intervals": {k: tuple(v) for k, v in law["intervals"].items()}})
            for law in plain.pop("laws")
        ]
        return cls(laws=laws, crossings=[Crossing(**c) for c in plain.pop("crossings")], **plain)


@dataclass
class Selection:
    """Points by axis, and the runs that are none of them."""

    points: dict[str, list[Point]]
    excluded: list[Exclusion] = field(default_factory=list)
    convention: str = ""


def points_from_rows(rows: list[dict[str, Any]], metric: str) -> Selection:
    """Compute axis: runs on the largest subset of their data; data axis: archs run at several sizes, all else equal.

    Raises BadInput when the rows mix FLOPs conventions. Diverged and failed runs, and metrics of zero, are listed.
    """
    conventions = {str(r.get("flops_convention", "")) for r in rows}
    if len(conventions) > 1:
        raise BadInput(f"The results mix {len(conventions)} FLOPs conventions ({'; '.join(sorted(conventions))}): fit them apart.")
    runs = [r for r in rows if r.get("kind", "pretrain") == "pretrain"]
    excluded = [
        Exclusion(r["digest"], r["family"], f"{r['outcome']}: {r.get('reason') or 'no reason recorded'}")
        for r in runs
        if r.get("outcome") != "done"
    ]
    usable = []
    for row in runs:
        value = row.get(metric)
        if row.get("outcome") != "done":
            continue
        if isinstance(value, int | float) and math.isfinite(value) and value > 0:
            usable.append(row)
        else:
            excluded.append(Exclusion(row["digest"], row["family"], f"{metric} is {value}, which has no logarithm"))
    largest: dict[Any, int] = {}
    for row in usable:
        largest[row["dataset"]] = max(largest.get(row["dataset"], 0), row["samples"])
    compute = [r for r in usable if r["samples"] == largest[r["dataset"]]]
    points = {"compute": _points(compute, "train_flops", metric), "data": _points(_varied(usable), "samples", metric)}
    return Selection(points, excluded, next(iter(conventions), ""))


def analyse(
    points: Selection | dict[str, list[Point]],
    metric: str,
    draws: int = DRAWS,
    level: float = LEVEL,
    seed: int = 0,
) -> Analysis:
    """Fit every family on every axis that has points, and cross every pair of families."""
    selection = points if isinstance(points, Selection) else Selection(points)
    analysis = Analysis(metric)
    for axis, listed in selection.points.items():
        seeds = sorted({p.seed for p in listed})
        fits: dict[str, FamilyFit] = {}
        for family in _families(listed):
            mine = [p for p in listed if p.family == family]
            fitted = fit_family(mine, seeds, axis, draws, seed)
            if fitted is None:
                distinct = len({p.x for p in mine})
                analysis.missing.append(
                    f"No law of {TITLES.get(family, family)} in {axis}: {distinct} distinct values on its frontier, "
                    "and a power law needs 3."
                )
                continue
            fits[family] = fitted
            analysis.laws.append(_law(fitted, axis, metric, level, seeds, selection.excluded))
        for a, b in itertools.combinations(fits, 2):
            analysis.crossings.append(crossing(axis, fits[a], fits[b], level))
    analysis.headline = _headline(analysis)
    analysis.checklist = _checklist(analysis, selection, draws, level)
    return analysis


def _points(rows: list[dict[str, Any]], x: str, metric: str) -> list[Point]:
    return [
        Point(r["family"], r["arch"], int(r["seed"]), r["digest"], float(r[x]), float(r[metric])) for r in rows
    ]


def _varied(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs whose arch was run at several data sizes: at equal steps if there are such, else at equal epochs."""
    for keys in (("arch", "budget", "lr", "dataset"), ("arch", "epochs", "lr", "dataset")):
        sizes: dict[tuple[Any, ...], set[int]] = {}
        for row in rows:
            sizes.setdefault(tuple(row.get(k) for k in keys), set()).add(row["samples"])
        found = [r for r in rows if len(sizes[tuple(r.get(k) for k in keys)]) > 1]
        if found:
            return found
    return []


def _families(points: list[Point]) -> list[str]:
    found = {p.family for p in points}
    return [f for f in ORDER if f in found] + sorted(found - set(ORDER))


def _law(
    fitted: FamilyFit, axis: str, metric: str, level: float, seeds: list[int], excluded: list[Exclusion]
) -> Law:
    tail = (1 - level) / 2
    theta = fitted.point_fit.theta[0]
    named = [fitted.form.named(t) for t in fitted.draws.theta]
    intervals = {
        name: tuple(float(v) for v in np.quantile([d[name] for d in named], [tail, 1 - tail]))
        for name in fitted.form.named(theta)
    }
    off = [p for p, kept in zip(fitted.points, fitted.kept, strict=True) if not kept]
    on = [p for p, kept in zip(fitted.points, fitted.kept, strict=True) if kept]
    left_out = [{"run": e.run, "reason": e.reason} for e in excluded if e.family == fitted.family]
    left_out += [{"run": p.run, "reason": "not on the frontier: something cheaper is as good"} for p in off]
    return Law(
        family=fitted.family,
        axis=axis,
        metric=metric,
        form=fitted.form.name,
        params=fitted.form.named(theta),
        intervals=intervals,  # type: ignore[arg-type]
        level=level,
        status=fitted.point_fit.status[0],
        n_points=len({(p.arch, p.x) for p in on}),
        n_runs=len(on),
        band=_band(fitted, tail),
        x_max=float(fitted.x.max()),
        holdout=_holdout(fitted, axis, seeds, tail),
        excluded=left_out,
        delta=fitted.point_fit.delta,
    )


def _band(fitted: FamilyFit, tail: float) -> dict[str, list[float]]:
    grid = np.linspace(math.log(fitted.x.min()), math.log(fitted.x.max() * BEYOND), BAND_POINTS)
    lo, hi = np.quantile(fitted.log_draws(grid), [tail, 1 - tail], axis=0)
    mid = fitted.log_curve(grid)
    return {
        "x": np.exp(grid).tolist(),
        "lo": np.exp(np.minimum(lo, mid)).tolist(),
        "mid": np.exp(mid).tolist(),
        "hi": np.exp(np.maximum(hi, mid)).tolist(),
    }


def _holdout(fitted: FamilyFit, axis: str, seeds: list[int], tail: float) -> dict[str, Any] | None:
    """Fit without the largest x, predict it. None when too little is left to fit."""
    top = float(fitted.x.max())
    rest = [p for p in fitted.points if p.x < top]
    if not rest:
        return None
    refit = fit_family(rest, seeds, axis, draws=300)
    if refit is None:
        return None
    kept = [p for p, k in zip(fitted.points, fitted.kept, strict=True) if k and p.x == top]
    observed = float(np.mean(np.log([p.y for p in kept])))
    at = np.array([math.log(top)])
    predicted = float(refit.log_curve(at)[0])
    lo, hi = (float(v) for v in np.quantile(refit.log_draws(at)[:, 0], [tail, 1 - tail]))
    return {
        "x": top,
        "predicted": math.exp(predicted),
        "observed": math.exp(observed),
        "log_error": predicted - observed,
        "lo": math.exp(min(lo, predicted)),
        "hi": math.exp(max(hi, predicted)),
        "inside": min(lo, predicted) <= observed <= max(hi, predicted),
        "form": refit.form.name,
    }


def _headline(analysis: Analysis) -> str:
    """One or two sentences on ViT against ResNet; of other families when those two are not both there."""
    main = [c for c in analysis.crossings if {c.a, c.b} == {"vit", "resnet"}] or analysis.crossings[:1]
    if not main:
        if not analysis.laws:
            return "There are too few finished runs for any law yet."
        return "Laws were fitted, but no two families can be compared yet."
    return " ".join(c.sentence for c in main)


def _checklist(analysis: Analysis, selection: Selection, draws: int, level: float) -> dict[str, str]:
    """What a reader needs to trust or redo the fit ((Mis)Fitting, arXiv 2502.18969)."""
    forms = {law.form for law in analysis.laws}
    latex = {f.name: f.latex for f in (POWER, POWER_FLOOR)}
    counts = ", ".join(f"{law.family}/{law.axis} {law.n_runs}" for law in analysis.laws) or "none"
    left_out = len(selection.excluded)
    return {
        "form": ", ".join(f"{name}: {latex[name]}" for name in sorted(forms)) or "none fitted",
        "metric": analysis.metric,
        "points": f"final checkpoint of each run, on its family's frontier; runs: {counts}",
        "loss": "sum of Huber terms of residuals in ln y",
        "delta": "1.5 x the deviation of ln y between seeds, at least 0.001",
        "optimiser": "damped Gauss-Newton with Huber reweighting, analytic gradients",
        "starts": "12 per law (4 exponents x 3 floors), best of all kept",
        "intervals": f"{level:.0%}, {draws} bootstrap draws: seeds resampled in pairs across families, wild residuals",
        "C": selection.convention or "training FLOPs",
        "D": "unique training samples, at equal samples seen where the study has it",
        "hold-out": "refit without the largest x of each family, which is then predicted",
        "exclusions": f"{left_out} runs diverged, failed or without a usable metric; listed with reasons",
    }
