"""Conclude: from the Ledger to laws and the page. Reads results, writes studies/NAME/laws.json and report.html."""

import datetime
import importlib
import json
import threading
from typing import Any

from pipeline import __version__
from pipeline.laws.comparison.analysis import Analysis, analyse, points_from_rows
from pipeline.ledger import Ledger
from pipeline.manifest import StudyManifest
from pipeline.record import Record, chain
from pipeline.store import Store


def preload() -> None:
    """Load what the page needs, in the background: meanwhile Ray starts, which is mostly waiting."""

    def load() -> None:
        for name in ("altair", "jinja2", "vl_convert", "scipy.stats"):
            importlib.import_module(name)
        importlib.import_module("pipeline.report.page").library()

    threading.Thread(target=load, name="preload", daemon=True).start()


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
    chains = {row["digest"]: _chain(store, row) for row in rows if row["outcome"] == "done"}
    page = render(rows, json.loads(analysis.to_json()), _study(manifest, rows, chains))
    key = f"studies/{manifest.name}/report.html"
    store.put(key, page.encode())
    return store.describe(key)


def _chain(store: Store, row: dict[str, Any]) -> list[Record]:
    """The records a finished trial rests on, from initialisation to its own."""
    keys = store.keys(f"states/{row['digest'][:2]}/{row['digest']}")
    last = next((k for k in reversed(keys) if k.endswith(".json")), None)
    return list(chain(store, last.removeprefix("states/").removesuffix(".json")))[::-1] if last else []


def _study(manifest: StudyManifest, rows: list[dict[str, Any]], chains: dict[str, list[Record]]) -> dict[str, Any]:
    shared = {record.key: record.seconds for records in chains.values() for record in records}
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
            "device_seconds": sum(shared.values()),
        },
        "curves": _curves(rows, chains),
    }


def _curves(rows: list[dict[str, Any]], chains: dict[str, list[Record]]) -> list[dict[str, Any]]:
    """Training loss against samples seen of every finished pre-training; the page thins them."""
    curves = []
    for row in rows:
        if row["kind"] != "pretrain" or row["outcome"] != "done":
            continue
        points = [point for record in chains[row["digest"]] for point in record.curve]
        curves.append(
            {
                "digest": row["digest"],
                "family": row["family"],
                "arch": row["arch"],
                "samples": [p["samples_seen"] for p in points],
                "exaflops": [p["compute/exaflops"] for p in points],
                "loss": [p["train/loss"] for p in points],
            }
        )
    return curves
