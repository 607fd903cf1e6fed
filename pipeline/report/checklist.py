"""The reporting checklist of a scaling study, filled in from what was recorded.

Items follow the survey "(Mis)Fitting: A Survey of Scaling Laws" (arXiv 2502.18969): most papers leave some
of them out. What is not known is shown as missing, never guessed.
"""

from typing import Any

from pipeline.report import numbers, series, theme

Row = dict[str, Any]


def checklist(rows: list[Row], analysis: dict[str, Any], study: dict[str, Any]) -> list[tuple[str, str]]:
    """(item, answer) in reading order. An empty answer means missing."""
    metric = series.metric_of(analysis, study, rows)
    items: dict[str, str] = {
        "question": str(study.get("question") or ""),
        "metric": f"{numbers.words(metric)} ({metric}), lower is better" if rows else "",
        "FLOPs convention": _only(rows, "flops_convention"),
        "data sets": "; ".join(filter(None, (_only(rows, "dataset", short=12), _downstream(rows)))),
        "families and shapes": _shapes(rows),
        "training set sizes": _span(rows, "samples"),
        "budgets (samples seen)": _span(rows, "budget"),
        "seeds": _listed(rows, "seed"),
        "learning rates": _learning_rates(rows, metric),
        "outcomes": _outcomes(rows, study),
        "devices": _only(rows, "device"),
        "versions": _versions(rows, study),
    }
    given = {numbers.words(str(k)): _text(v) for k, v in (analysis.get("checklist") or {}).items()}
    if not given:
        given = {"law: form, loss, optimiser, starts, interval": ""}
    return [*items.items(), *((k, v) for k, v in given.items() if k not in items)]


def _downstream(rows: list[Row]) -> str:
    tasks = _only(rows, "task_dataset", short=12)
    return f"transfer to {tasks}" if tasks else ""


def _learning_rates(rows: list[Row], metric: str) -> str:
    """For each family: bracketed when, at some place, the best of three or more rates is neither end."""
    done = series.finished(rows, "pretrain")
    said = []
    for family in theme.order({str(r["family"]) for r in done if r.get("family")}):
        places: dict[tuple[Any, ...], dict[float, float]] = {}
        for row in done:
            lr, value = numbers.finite(row.get("lr")), numbers.finite(row.get(metric))
            if row.get("family") == family and lr is not None and value is not None:
                tried = places.setdefault((row.get("arch"), row.get("samples"), row.get("budget")), {})
                tried[lr] = min(value, tried.get(lr, value))
        rates = sorted({lr for tried in places.values() for lr in tried})
        if not rates:
            continue
        verdict = "bracketed" if any(_inside(tried) for tried in places.values()) else "not bracketed in this study"
        said.append(f"{theme.title(family)}: {', '.join(numbers.digits(r, 2) for r in rates)} ({verdict})")
    return "; ".join(said)


def _inside(tried: dict[float, float]) -> bool:
    rates = sorted(tried)
    return len(rates) >= 3 and min(rates, key=lambda lr: tried[lr]) not in (rates[0], rates[-1])


def _shapes(rows: list[Row]) -> str:
    """Each arch once, with its parameters."""
    archs = {(str(r.get("arch")), numbers.scaled(r.get("params"))) for r in rows if r.get("arch")}
    return ", ".join(f"{arch} ({params})" for arch, params in sorted(archs))


def _span(rows: list[Row], field: str) -> str:
    pretrained = [r for r in rows if r.get("kind", "pretrain") == "pretrain"]
    values = sorted({v for r in pretrained if (v := numbers.finite(r.get(field))) is not None})
    if len(values) > 6:
        return f"{len(values)} values from {numbers.samples(values[0])} to {numbers.samples(values[-1])}"
    return ", ".join(numbers.samples(v) for v in values)


def _listed(rows: list[Row], field: str) -> str:
    return ", ".join(sorted({str(r[field]) for r in rows if r.get(field) is not None}, key=lambda s: (len(s), s)))


def _only(rows: list[Row], field: str, short: int | None = None) -> str:
    """The one value of all rows; several are all named, for mixing them would matter."""
    return "; ".join(sorted({str(r[field])[:short] for r in rows if r.get(field)}))


def _outcomes(rows: list[Row], study: dict[str, Any]) -> str:
    count = {o: sum(r.get("outcome") == o for r in rows) for o in ("done", "diverged", "failed")}
    planned = (study.get("totals") or {}).get("trials_planned")
    of = f" of {planned} planned" if planned is not None else ""
    return f"{count['done']} done, {count['diverged']} diverged, {count['failed']} failed{of}" if rows else ""


def _versions(rows: list[Row], study: dict[str, Any]) -> str:
    crossover = _only(rows, "crossover_version") or str(study.get("version") or "")
    torch = _only(rows, "torch_version")
    return ", ".join(part for part in (crossover and f"Crossover {crossover}", torch and f"torch {torch}") if part)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_text(v)}" for k, v in value.items())
    return numbers.digits(value) if isinstance(value, float) else "" if value is None else str(value)
