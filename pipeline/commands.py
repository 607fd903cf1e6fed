"""The verbs that prepare, price and run. Each takes the parsed command line and returns an exit code."""

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.verify import verify
from pipeline.errors import BadInput, brief
from pipeline.homes import localise_on, open_homes
from pipeline.job import Home
from pipeline.ledger import Ledger
from pipeline.pool import Pool
from pipeline.prepared import (
    Prepared,
    conclude,
    console,
    job_maker,
    load_config,
    manifest_of,
    plan_study,
    printed,
)
from pipeline.price import refuse
from pipeline.progress import ProgressLine
from pipeline.record import log_key
from pipeline.track import probe

if TYPE_CHECKING:
    from pipeline.cluster import Summary


def prepare(arguments: Namespace) -> int:
    loaded = load_config(arguments)
    if printed(arguments, loaded):
        return 0
    config = loaded.config
    if not config.data:
        raise BadInput("Nothing to prepare: name a data set, for example data=fractal or study=quickstart.")
    with Pool(config.placement) as pool:
        homes = open_homes(config, console, pool.map)
        for name, home in homes.items():
            if arguments.verify:
                with ProgressLine(console, name) as progress:
                    verify(Path(home.folder), pool.map, progress, localise_on(config.placement))
            _print_home(name, home, arguments.verify)
    if arguments.bench:
        from pipeline.bench import bench

        bench(console, config, homes)
    return 0


def _print_home(name: str, home: Home, verified: bool) -> None:
    d = home.dataset
    console.print(
        f"{name}: {d.samples:,} training, {d.val_samples:,} validation, {d.test_samples:,} test images, "
        f"{d.classes} classes, {d.image_size} px, id {d.id[:12]}, in {home.folder}"
        + (", verified" if verified else ""),
        markup=False,
    )


def plan(arguments: Namespace) -> int:
    loaded = load_config(arguments)
    if printed(arguments, loaded):
        return 0
    prepared = plan_study(loaded, prepare_missing=False)
    if arguments.json:
        print(json.dumps(_plan_json(prepared), indent=1))
    else:
        _print_quote(prepared)
        _print_rows(prepared, arguments.rows)
    refuse(loaded.config.study, prepared.quote)
    return 0


def run(arguments: Namespace) -> int:
    loaded = load_config(arguments)
    if printed(arguments, loaded):
        return 0
    prepared = plan_study(loaded, prepare_missing=True)
    _print_quote(prepared)
    if loaded.config.study.adaptive.budget is not None:
        from pipeline.adaptive import grow

        return grow(prepared, _execute)
    refuse(loaded.config.study, prepared.quote)
    manifest = manifest_of(prepared)
    manifest.save(prepared.store)
    summary = _execute(prepared)
    if summary.interrupted:
        return 130
    conclude(prepared.store, manifest)
    return 1 if summary.failed else 0


def _execute(prepared: Prepared) -> "Summary":
    """Run a plan, watched; says what came of it."""
    from pipeline.cluster import execute
    from pipeline.conclude import preload
    from pipeline.terminal import StudyView

    config = prepared.config
    track, why_offline = probe(config.track)
    if why_offline:
        console.print(why_offline, markup=False)
    if prepared.plan.segments:
        preload()
    with StudyView(console, prepared.plan, prepared.store, config.study.name) as view:
        summary = execute(prepared.plan, job_maker(prepared), config.placement, track, view.event, view.tick)
    if summary.interrupted:
        left = len(prepared.plan.trials) - len(prepared.plan.known) - summary.done - summary.diverged
        console.print(f"Interrupted; the states are saved, {left} trials are left; the same command continues.")
    elif summary.done or summary.failed or summary.diverged:
        console.print(
            f"{summary.done} trials done, {summary.diverged} diverged, {summary.failed} failed in "
            f"{summary.wall_seconds:.0f} s ({summary.device_seconds:.0f} device-seconds of training)."
        )
    return summary


def next(arguments: Namespace) -> int:
    from pipeline.proposal import show_next

    return show_next(arguments)


def train(arguments: Namespace) -> int:
    loaded = load_config(arguments)
    if printed(arguments, loaded):
        return 0
    prepared = plan_study(loaded, prepare_missing=True)
    _print_quote(prepared)
    refuse(loaded.config.study, prepared.quote)
    manifest = manifest_of(prepared)
    manifest.save(prepared.store)
    from pipeline.mirror import Mirror
    from pipeline.terminal import starved
    from pipeline.training.segment import run_segment

    mirror, make_job = Mirror(prepared.config.track), job_maker(prepared, alone=True)
    for key in prepared.plan.order:
        try:
            report = run_segment(make_job(prepared.plan.segments[key]), mirror.open)
        except Exception as error:
            log = prepared.store.describe(log_key(key))
            console.print(f"failed: {brief(error)}. Log: {log}", markup=False)
            return 1
        if report.outcome != "done":
            console.print(f"{report.outcome}: {report.reason or key}", markup=False)
            return 0 if report.outcome == "diverged" else 1
        if warning := starved(prepared.plan.segments[key].planned.arch, report.data_wait):
            console.print(warning, markup=False)
    for row in manifest.rows(Ledger(prepared.store)):
        metrics = {k: round(row[k], 4) for k in ("val_error", "val_loss", "test_error") if k in row}
        console.print(f"{row['arch']} {row['digest'][:12]} {metrics}", markup=False)
    return 0


def _plan_json(prepared: Prepared) -> dict:
    segments = [
        {
            "key": key,
            "work": s.work.name,
            "arch": s.planned.arch,
            "start": s.start.key if s.start else None,
            "first_step": s.first_step,
            "last_step": s.end.step,
            "flops": s.flops,
            "serves": list(s.serves),
        }
        for key, s in prepared.plan.segments.items()
    ]
    trials = {
        d: {"arch": p.arch, "sweeps": sorted(p.sweeps), "task": p.task, "known": d in prepared.plan.known}
        for d, p in prepared.plan.trials.items()
    }
    return {
        "study": prepared.config.study.name,
        **prepared.quote.to_plain(),
        "trials": trials,
        "segments": segments,
    }


def _print_quote(prepared: Prepared) -> None:
    from pipeline.terminal import quote_table

    name = prepared.config.study.name
    console.print(quote_table(prepared.quote, f"Study {name}"))
    if any(not home.folder for home in prepared.homes.values()):
        console.print("Data not prepared yet: sizes are as declared, and no trial can be known.")


def _print_rows(prepared: Prepared, wanted: bool) -> None:
    """Each pre-training, where they are few or the user wants them."""
    from pipeline.terminal import FEW_ROWS, rows_table

    rows = prepared.quote.rows
    if wanted or len(rows) <= FEW_ROWS:
        console.print(rows_table(rows))
    else:
        console.print(f"{len(rows)} different pre-trainings: --rows lists each.")
