"""Conclude: from the Ledger to laws and the page. Reads results, writes studies/NAME/laws.json and report.html."""

import datetime
import json
from typing import Any

from pipeline import __version__
from pipeline.laws.analysis import Analysis, analyse, points_from_rows
from pipeline.ledger import Ledger
from pipeline.manifest import StudyManifest
from pipeline.record import chain
from pipeline.store import Store

CURVE_POINTS = 60
"""Points kept of each learning curve in the page."""


def fit_laws(store: Store, manifest: StudyManifest) -> Analysis:
    """Fit the laws of a study to what is recorded so far, and keep them as JSON."""
    rows = manifest.rows(Ledger(store))
    analysis = analyse(points_from_rows(rows, manifest.metric), metric=manifest.metric)
    store.put(f"studies/{manifest.name}/laws.json", analysis.to_json().encode())
    return analysis


def write_report(store: Store, manifest: StudyManifest, analysis: Analysis) -> str:
    """Write the page; returns where it is."""
    from pipeline.report.page import render

    rows = manifest.rows(Ledger(store))
    page = render(rows, json.loads(analysis.to_json()), _study(store, manifest, rows))
    key = f"studies/{manifest.name}/report.html"
    store.put(key, page.encode())
    return store.describe(key)


def _study(store: Store, manifest: StudyManifest, rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": manifest.name,
        "question": manifest.question,
        "metric": manifest.metric,
        "data": manifest.data,
        "config_yaml": manifest.config,
        "created": manifest.created,
        "written": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
        "version": __version__,
        "totals": {
            "trials_planned": len(manifest.trials),
            "flops_executed": manifest.flops,
            "flops_unshared": manifest.flops_unshared,
            "device_seconds": sum(_own_seconds(rows)),
        },
        "curves": _curves(store, rows),
    }


def _own_seconds(rows: list[dict[str, Any]]) -> list[float]:
    return [float(row["device_seconds"]) for row in rows if row.get("device_seconds")]


def _curves(store: Store, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Training loss against samples seen of every finished pre-training, thinned evenly."""
    curves = []
    for row in rows:
        if row["kind"] != "pretrain" or row["outcome"] != "done":
            continue
        keys = store.keys(f"states/{row['digest'][:2]}/{row['digest']}")
        last = next((k for k in reversed(keys) if k.endswith(".json")), None)
        if last is None:
            continue
        records = list(chain(store, last.removeprefix("states/").removesuffix(".json")))
        points = [point for record in reversed(records) for point in record.curve]
        thinned = points[:: max(1, len(points) // CURVE_POINTS)]
        curves.append(
            {
                "digest": row["digest"],
                "family": row["family"],
                "arch": row["arch"],
                "samples": [p["samples_seen"] for p in thinned],
                "exaflops": [p["compute/exaflops"] for p in thinned],
                "loss": [p["train/loss"] for p in thinned],
            }
        )
    return curves
