"""The page: one self-contained HTML file that needs no network and no server.

Everything that comes from rows, analysis or study is escaped: text by Jinja2, data as JSON that cannot close
its script element. The page forbids itself every request by its Content-Security-Policy.
"""

import json
import math
import os
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.report import charts, checklist, numbers, series, tables, theme

Row = dict[str, Any]
TEMPLATE = Path(__file__).parent / "template"
_CONVENTIONS = {
    "FLOPs": "2 per multiply-add; training = 3 × forward × samples seen; padding included; each trial at its "
    "own budget, whatever it shared with others.",
    "compute executed": "what was really run: work that several trials share is counted once.",
    "device time": "of a trial: its own segments and the shared trunk it rests on; of the study: what ran.",
    "images, seen": "unique training images; images shown to the model, repeats included.",
    "result": "of a pre-training: the study's metric; of a transfer: error on the task's test split. "
    "Of several fine-tuning rates the charts show the one that is best on the task's validation split.",
    "diverged, failed": "a loss that exploded is a result and stays; a trial that broke runs again.",
    "interval": "percentile interval of the bootstrap at the stated level.",
}
# The symbols of the charts, drawn in a box of -8..8.
_PATHS = [
    "M-6 0A6 6 0 1 0 6 0A6 6 0 1 0-6 0Z",
    "M0-7.5L7.5 0L0 7.5L-7.5 0Z",
    "M-5.5-5.5H5.5V5.5H-5.5Z",
    "M0-6.5L7 5.5H-7Z",
    "M-2.2-6.5H2.2V-2.2H6.5V2.2H2.2V6.5H-2.2V2.2H-6.5V-2.2H-2.2Z",
    "M0 6.5L7-5.5H-7Z",
]


def render(rows: list[Row], analysis: Row, study: Row) -> str:
    """The whole page.

    ``rows`` are Ledger rows, ``analysis`` is the plain form of ``pipeline.laws.comparison.analysis.Analysis`` ({} while
    there is none), ``study`` has name, question, metric, config_yaml, created, version, totals and optionally
    curves. Any of them may be partial: the page then says what is missing, and draws no law that the analysis
    does not have.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    drawn = charts.build(rows, analysis, study)
    metric = series.metric_of(analysis, study, rows)
    names = series.families(rows, analysis)
    slots = theme.slots(names)
    environment = Environment(
        loader=FileSystemLoader(TEMPLATE), autoescape=True, trim_blocks=True, undefined=StrictUndefined
    )
    levels = [v for part in ("laws", "crossings") for x in analysis.get(part) or [] if (v := x.get("level"))]
    return environment.get_template("page.html").render(
        name=study.get("name") or "study",
        question=study.get("question") or "",
        created=study.get("created") or "",
        version=study.get("version") or "",
        headline=headline(rows, analysis),
        status=status(rows, analysis, study),
        missing=missing(rows, analysis, study),
        metric=numbers.words(metric),
        tiles=[{"bar": None, **tile} for tile in tables.tiles(rows, study)],
        families=[{"id": f, "title": theme.title(f), "slot": slots[f]} for f in names],
        slots=slots,
        paths=_PATHS,
        scaling=[c for c in drawn if c.name in ("compute", "data")],
        transfers=[c for c in drawn if c.name.startswith("transfer")],
        curves=[c for c in drawn if c.name == "curves"],
        laws=tables.laws(analysis),
        sharing=sharing(rows),
        crossings=tables.crossings(analysis),
        matched=tables.crossings(analysis, "matched"),
        level=numbers.share(levels[0] if levels else 0.9),
        rows=rows,
        outcomes=[
            {"name": o, "count": sum(r.get("outcome") == o for r in rows)} for o in ("done", "diverged", "failed")
        ],
        exclusions=tables.exclusions(rows, analysis),
        checklist=checklist.checklist(rows, analysis, study),
        config=study.get("config_yaml") or "",
        conventions=list(_CONVENTIONS.items()),
        modes=theme.MODES,
        sans=Markup(theme.FONT),
        tones=lambda mode: Markup(_tones(mode)),
        css=Markup((TEMPLATE / "page.css").read_text()),
        js=Markup((TEMPLATE / "page.js").read_text()),
        library=Markup(library()) if drawn else "",
        data=Markup(_island(rows, metric, names, drawn)),
    )


def write(path: Path | str, rows: list[Row], analysis: Row, study: Row) -> Path:
    """Render to ``path``, all or nothing: a reader never sees half a page. Returns the path."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    text = render(rows, analysis, study)
    handle, scratch = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(scratch, 0o644)  # mkstemp makes it private
        os.replace(scratch, target)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise
    return target


def headline(rows: list[Row], analysis: Row) -> str:
    """The analysis's own sentence; without one, what can be said."""
    said = str(analysis.get("headline") or "").strip()
    if said:
        return re.sub(r"(?<=\d) (?=%|[kMGTPEZY]?FLOPs)", numbers.JOIN, said)
    done = len(series.finished(rows, "pretrain"))
    if not rows:
        return "No trial has finished yet, so there is nothing to compare."
    return f"{done} pre-training {'trial has' if done == 1 else 'trials have'} finished: too few to fit a law."


def status(rows: list[Row], analysis: Row, study: Row) -> str:
    """How far the study is, on which data."""
    totals = study.get("totals") or {}
    settled = sum(r.get("outcome") in ("done", "diverged") for r in rows)
    failed = sum(r.get("outcome") == "failed" for r in rows)
    planned = numbers.finite(totals.get("trials_planned"))
    parts = [f"{settled} of {int(planned)} trials done" if planned else f"{settled} trials done"]
    if diverged := sum(r.get("outcome") == "diverged" for r in rows):
        parts.append(f"{diverged} of them diverged")
    if failed:
        parts.append(f"{failed} failed")
    if planned and settled + failed < planned:
        parts.append("study in progress")
    if rows:
        parts.append(f"judged by {numbers.words(series.metric_of(analysis, study, rows))}")
    return ", ".join(parts) + "."


def sharing(rows: list[Row]) -> str:
    """What is known of the bias of shared trunks, where a point of this study comes from one."""
    if not any(row.get("schedule") in ("wsd", "rsqrt") for row in rows):
        return ""
    return (
        "Budgets of one run share a trunk and end in cool-downs of their own: on CIFAR-10 ViT, Hybrid and ResNet "
        "differed by less than 1 % of their error in what that costs, 90 % intervals within 2.1 % (docs/schedules.md)."
    )


def missing(rows: list[Row], analysis: Row, study: Row) -> list[str]:
    """What the reader might expect and this page cannot show, and why."""
    metric = series.metric_of(analysis, study, rows)
    found: list[str] = []
    done = series.finished(rows, "pretrain")
    if not done:
        return ["Every chart: no pre-training trial has finished."]
    compute = series.compute_points(rows, metric)
    laws = {law.get("family") for law in series.laws(analysis, "compute") if series.band(law)}
    without = [theme.title(f) for f in theme.order({p["family"] for p in compute}) if f not in laws]
    if without:
        found.append(f"A compute law for {_and(without)}: the analysis fitted none.")
    if len({r.get("family") for r in done}) < 2:
        found.append("A comparison: only one family has finished trials.")
    if not series.data_points(rows, metric):
        found.append("Data scaling: no architecture has finished on two subset sizes.")
    if max((m["n"] for m in series.means(compute)), default=0) < 2:
        found.append("Spread between seeds: no point was run with two seeds.")
    unusable = len(done) - sum(numbers.finite(r.get(metric)) is not None for r in done)
    if unusable:
        found.append(f"{unusable} finished {'trial' if unusable == 1 else 'trials'} without a {numbers.words(metric)}.")
    return found


def safe_json(value: Any) -> str:
    """JSON for a script element: cannot end it or open a comment; NaN and infinity become null."""
    text = json.dumps(_clean(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"), default=str)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _island(rows: list[Row], metric: str, names: list[str], drawn: list[charts.Chart]) -> str:
    """All data of the page's script."""
    return safe_json(
        {
            "charts": {c.name: {"spec": c.spec, "points": c.points} for c in drawn},
            "trials": tables.trials(rows, metric),
            "families": names,
            "slots": theme.slots(names),
            "paths": _PATHS,
            "config": {"css": theme.vega_config("css", names), "light": theme.vega_config("light", names)},
        }
    )


_GLOBALS = "window.vegaEmbed = vegaEmbed;"


@cache
def library() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script. Takes a second, so once a process."""
    import vl_convert

    bundle = vl_convert.javascript_bundle(_GLOBALS)
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _tones(mode: Row) -> str:
    flat = {k: v for k, v in mode.items() if isinstance(v, str)}
    flat |= {f"family-{i}": v for i, v in enumerate(mode["families"])}
    scheme = "dark" if mode is theme.MODES["dark"] else "light"
    return " ".join([f"color-scheme: {scheme};", *(f"--{k}: {v};" for k, v in flat.items())])


def _clean(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    return value


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
