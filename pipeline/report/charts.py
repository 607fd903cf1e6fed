"""The charts as Vega-Lite specifications, built with Altair: the same ones in the page and in figures."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.report import numbers, series, theme
from pipeline.report.frame import Frame, tip
from pipeline.report.ticks import log_domain

Row = dict[str, Any]
SEEN = "indexof(families, datum.family) >= 0"
X_TITLES = {"compute": "training compute (FLOPs)", "data": "unique training images"}
# Altair numbers unnamed datasets by their content, so equal input gives equal bytes.


@dataclass
class Chart:
    name: str
    """Plain file name and element id."""
    title: str
    caption: str
    spec: dict[str, Any]
    """Vega-Lite, with a signal ``families`` that holds the ids of the families to show."""
    points: list[Row]
    """The measured points that are drawn."""


def build(rows: list[Row], analysis: dict[str, Any], study: dict[str, Any]) -> list[Chart]:
    """Every chart for which there is a measured point, in the order of the page."""
    metric = series.metric_of(analysis, study, rows)
    names = series.families(rows, analysis)
    named = numbers.words(metric)
    found: list[Chart] = []
    for axis, points in (
        ("compute", series.compute_points(rows, metric)),
        ("data", series.data_points(rows, metric)),
    ):
        if points:
            what = "compute" if axis == "compute" else "data size"
            spec = scaling(points, analysis, axis, metric, names)
            title = f"{named.capitalize()} against {what}"
            found.append(Chart(axis, title, _caption(analysis, axis), spec, points))
    for number, (title, points) in enumerate(series.transfer_panels(rows)):
        if points:
            spec = scatter(points, names, X_TITLES["compute"], "test error", "test_error", height=230)
            found.append(Chart(f"transfer-{number}", title, "", spec, points))
    curves = series.curve_points(study.get("curves") or [])
    if curves:
        by_flops = all(c.get("exaflops") for c in study["curves"])
        spec = learning(curves, names, X_TITLES["compute"] if by_flops else "samples seen")
        found.append(Chart("curves", "Learning curves", "", spec, curves))
    return found


def scaling(points: list[Row], analysis: dict[str, Any], axis: str, metric: str, names: list[str]) -> Row:
    """Points, and every law and crossing that the analysis has on this axis. Log x, log y.

    Solid where fitted, dashed beyond the largest fitted point, held-out points ringed.
    """
    import altair as alt

    laws = series.laws(analysis, axis)
    before, beyond, shade, rings = _law_rows(laws, points)
    crossings = [c for c in analysis.get("crossings") or [] if c.get("axis") == axis]
    curves = before + beyond
    x_domain = log_domain([r["x"] for r in points + curves])
    y_domain = log_domain([r["y"] for r in points + curves + rings])
    frame = Frame(names, x_domain, y_domain, X_TITLES.get(axis, axis), numbers.words(metric), metric)
    marks = [_crossings(crossings, frame)] if crossings else []
    if shade:
        area = alt.Chart(alt.Data(values=shade)).mark_area(opacity=0.15, clip=True, aria=False)
        marks.append(area.encode(x=frame.x(), y=frame.y("lo"), y2="hi:Q", color=frame.color()))
    marks.append(frame.trails(points))
    for rows, dash in ((before, [1, 0]), (beyond, [6, 4])):
        if rows:
            line = alt.Chart(alt.Data(values=rows)).mark_line(strokeWidth=2.5, strokeDash=dash, clip=True, aria=False)
            marks.append(line.encode(x=frame.x(), y=frame.y(), color=frame.color()))
    if rings:
        ring = alt.Chart(alt.Data(values=rings)).mark_point(shape="circle", size=210, filled=False, style="ring")
        tips = [
            tip("name", "family"),
            tip("shown", "held out, observed"),
            tip("guess", "predicted by the law"),
        ]
        marks.append(ring.encode(x=frame.x(), y=frame.y(), tooltip=tips))
    marks.append(frame.dots(points))  # on top, so that a point answers for itself
    return _finish(marks, names, f"{numbers.words(metric)} against {X_TITLES.get(axis, axis)} by family", 400)


def scatter(points: list[Row], names: list[str], x_title: str, y_title: str, metric: str, height: int) -> Row:
    """Points and the mean of their seeds; no law."""
    x_domain, y_domain = log_domain([p["x"] for p in points]), log_domain([p["y"] for p in points])
    frame = Frame(names, x_domain, y_domain, x_title, y_title, metric)
    return _finish([frame.trails(points), frame.dots(points)], names, f"{y_title} against {x_title}", height)


def learning(points: list[Row], names: list[str], x_title: str) -> Row:
    """One thin line a trial: training loss as it was recorded."""
    import altair as alt

    x_domain, y_domain = log_domain([p["x"] for p in points]), log_domain([p["y"] for p in points])
    frame = Frame(names, x_domain, y_domain, x_title, "training loss", "train_loss")
    named = [{**p, "name": theme.title(p["family"]), "short": p["run"][:12]} for p in points]
    line = alt.Chart(alt.Data(values=named)).mark_line(strokeWidth=1.4, opacity=0.6, clip=True)
    tips = [tip("name", "family"), tip("arch", "arch"), tip("short", "trial")]
    drawn = line.encode(x=frame.x(), y=frame.y(), color=frame.color(legend=True), detail="run:N", tooltip=tips)
    return _finish([drawn], names, f"training loss against {x_title}, one line a trial", 320)


def _law_rows(laws: list[Row], points: list[Row]) -> tuple[list[Row], list[Row], list[Row], list[Row]]:
    """Curve where fitted, curve beyond, interval, and held-out points, of the laws the analysis has."""
    before: list[Row] = []
    beyond: list[Row] = []
    shade: list[Row] = []
    rings: list[Row] = []
    for law in laws:
        family = str(law.get("family", ""))
        label = {"family": family, "name": theme.title(family)}
        curve = series.band(law)
        limit = _fitted_to(law, points)
        at = list(enumerate(curve.get("x", [])))
        before += [{**label, "x": x, "y": curve["mid"][i]} for i, x in at if x <= limit]
        # the dashed part starts where the solid one ends, so that the line has no gap
        last = max((i for i, x in at if x <= limit), default=0)
        beyond += [{**label, "x": x, "y": curve["mid"][i]} for i, x in at if i >= last] if last + 1 < len(at) else []
        if "lo" in curve:
            shade += [{**label, "x": x, "lo": curve["lo"][i], "hi": curve["hi"][i]} for i, x in at]
        for held in held_out(law):
            shown = numbers.measured(str(law.get("metric", "")), held["observed"])
            guess = numbers.measured(str(law.get("metric", "")), held.get("predicted"))
            rings.append({**label, "x": held["x"], "y": held["observed"], "shown": shown, "guess": guess})
    return before, beyond, shade, rings


def held_out(law: Row) -> list[Row]:
    """Points the law did not see, with what it predicted. One or several."""
    given = law.get("holdout") or []
    several = given if isinstance(given, list) else [given]
    return [h for h in several if numbers.finite(h.get("x")) and numbers.finite(h.get("observed"))]


def _fitted_to(law: Row, points: list[Row]) -> float:
    """The largest x the law was fitted to."""
    for name in ("x_max", "fit_max"):
        if numbers.finite(law.get(name)):
            return float(law[name])
    first_held = min((h["x"] for h in held_out(law)), default=float("inf"))
    used = [p["x"] for p in points if p["family"] == law.get("family") and p["x"] < first_held * (1 - 1e-9)]
    return max(used, default=float("inf"))


def _crossings(crossings: list[Row], frame: Frame) -> Any:
    """A line at each crossing inside the frame, with its interval shaded."""
    import altair as alt

    domain = frame.x_domain
    rows: list[Row] = []
    for crossing in crossings:
        x, lo, hi = (numbers.finite(crossing.get(k)) for k in ("x", "lo", "hi"))
        if crossing.get("answer") != "crosses" or x is None or not domain[0] <= x <= domain[1]:
            continue
        a, b = str(crossing.get("a")), str(crossing.get("b"))
        pair, at = f"{theme.title(a)} × {theme.title(b)}", numbers.along(str(crossing.get("axis")), x)
        span = {"lo": max(lo, domain[0]), "hi": min(hi, domain[1])} if lo and hi else {"lo": x, "hi": x}
        label = [numbers.JOIN] * 2 * len(rows) + [pair, at]  # blank lines keep labels of near crossings apart
        right = math.log(x / domain[0]) > 0.75 * math.log(domain[1] / domain[0])
        say = crossing.get("sentence", "")
        row = {
            "a": a,
            "b": b,
            "x": x,
            **span,
            "label": label,
            "right": right,
            "pair": pair,
            "at": at,
            "say": say,
        }
        rows.append(row)
    base = alt.Chart(alt.Data(values=rows)).transform_filter(
        "indexof(families, datum.a) >= 0 && indexof(families, datum.b) >= 0"
    )
    tips = [tip("pair", "crossing"), tip("at", "at"), tip("say", "")]
    rect = base.mark_rect(style="interval", clip=True).encode(x=frame.x("lo"), x2="hi:Q", tooltip=tips)
    rule = base.mark_rule(style="crossing", strokeDash=[2, 3], clip=True).encode(x=frame.x(), tooltip=tips)
    layers = [rect, rule]
    sides: list[tuple[Literal["left", "right"], int, str]] = [
        ("left", 6, "!datum.right"),
        ("right", -6, "datum.right"),
    ]
    for align, dx, side in sides:
        kept = base.transform_filter(side)
        text = kept.mark_text(style="crossing-label", align=align, baseline="top", dx=dx, aria=False)
        layers.append(text.encode(x=frame.x(), y=alt.value(2), text="label:N"))
    return alt.layer(*layers)


def _finish(marks: list[Any], names: list[str], description: str, height: int) -> Row:
    import altair as alt

    shown = [m if isinstance(m, alt.LayerChart) else m.transform_filter(SEEN) for m in marks]
    chart = alt.layer(*shown).properties(width="container", height=height, description=description)
    spec = chart.properties(autosize=alt.AutoSizeParams(type="fit-x", contains="padding")).to_dict()
    spec.pop("config", None)  # colours come from the page or the figure
    # added here because Altair renames parameters that are added to a layer
    spec["params"] = [{"name": "families", "value": names}]
    return spec


def _caption(analysis: dict[str, Any], axis: str) -> str:
    laws = [law for law in series.laws(analysis, axis) if series.band(law)]
    parts = ["Each point is one trial; thin lines join the seed means of one architecture."]
    if laws:
        level = next((law["level"] for law in laws if numbers.finite(law.get("level"))), 0.9)
        runs = sum(int(law.get("n_runs") or 0) for law in laws)
        fitted = f" ({runs} runs)" if runs else ""
        parts.append(f"Thick lines are fitted laws{fitted}, dashed beyond the fitted range.")
        parts.append(f"Shaded: {numbers.share(level)} interval.")
        if any(held_out(law) for law in laws):
            parts.append("Ringed points were held out of the fit.")
    else:
        parts.append("No law is drawn: the analysis has none on this axis yet.")
    if any(c.get("axis") == axis and c.get("answer") == "crosses" for c in analysis.get("crossings") or []):
        parts.append("Dotted vertical: estimated crossing, with its interval.")
    if axis == "compute":
        parts.append("Training FLOPs at 2 per multiply-add, 3 × forward × samples seen; runs on the largest subset.")
    return " ".join(parts)
