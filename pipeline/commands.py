"""What the verbs do. Each takes the parsed command line and returns an exit code."""

import datetime
import json
from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from data_prep.prepare import find
from data_prep.prepare import prepare as prepare_source
from data_prep.verify import verify
from pipeline.config import Config, Loaded, load
from pipeline.errors import BadInput
from pipeline.job import Home, Job
from pipeline.ledger import Ledger
from pipeline.manifest import StudyManifest, describe, read_manifest, study_names
from pipeline.plan import Plan, Segment, build_plan
from pipeline.price import Quote, Throughput, quote, refuse
from pipeline.record import stored_steps
from pipeline.store import Store
from pipeline.study import Planned, expand
from pipeline.subset import Dataset
from pipeline.track import probe
from pipeline.trial import difference

console = Console(highlight=False, soft_wrap=True)


@dataclass
class Prepared:
    """A study, expanded and priced against what its store holds."""

    loaded: Loaded
    homes: dict[str, Home]
    store: Store
    plan: Plan
    quote: Quote

    @property
    def config(self) -> Config:
        return self.loaded.config


def prepare(arguments: Namespace) -> int:
    loaded = _load(arguments)
    if _printed(arguments, loaded):
        return 0
    config = loaded.config
    if not config.data:
        raise BadInput("Nothing to prepare: name a data set, for example data=fractal or study=quickstart.")
    for name, home in _homes(config, prepare_missing=True).items():
        d = home.dataset
        if arguments.verify:
            verify(Path(home.folder))
        console.print(
            f"{name}: {d.samples:,} training, {d.val_samples:,} validation, {d.test_samples:,} test images, "
            f"{d.classes} classes, {d.image_size} px, id {d.id[:12]}, in {home.folder}"
            + (", verified" if arguments.verify else ""),
            markup=False,
        )
    return 0


def plan(arguments: Namespace) -> int:
    loaded = _load(arguments)
    if _printed(arguments, loaded):
        return 0
    prepared = _plan(loaded, prepare_missing=False)
    if arguments.json:
        print(json.dumps(_plan_json(prepared), indent=1))
    else:
        _print_quote(prepared)
    refuse(loaded.config.study, prepared.quote)
    return 0


def run(arguments: Namespace) -> int:
    from pipeline.cluster import execute
    from pipeline.conclude import preload
    from pipeline.terminal import StudyView

    loaded = _load(arguments)
    if _printed(arguments, loaded):
        return 0
    prepared = _plan(loaded, prepare_missing=True)
    _print_quote(prepared)
    refuse(loaded.config.study, prepared.quote)
    manifest = _manifest(prepared)
    manifest.save(prepared.store)
    config = prepared.config
    track, why_offline = probe(config.track)
    if why_offline:
        console.print(f"W&B stays offline for this study: {why_offline}", markup=False)
    if prepared.plan.segments:
        preload()
    with StudyView(console, prepared.plan, prepared.store, config.study.name) as view:
        summary = execute(prepared.plan, _job_maker(prepared), config.placement, track, view.event, view.tick)
    if summary.interrupted:
        left = len(prepared.plan.trials) - len(prepared.plan.known) - summary.done - summary.diverged
        console.print(f"Interrupted; the states are saved, {left} trials are left; the same command continues.")
        return 130
    _conclude(prepared.store, manifest)
    if summary.done or summary.failed or summary.diverged:
        console.print(
            f"{summary.done} trials done, {summary.diverged} diverged, {summary.failed} failed in "
            f"{summary.wall_seconds:.0f} s ({summary.device_seconds:.0f} device-seconds of training)."
        )
    return 1 if summary.failed else 0


def train(arguments: Namespace) -> int:
    loaded = _load(arguments)
    if _printed(arguments, loaded):
        return 0
    prepared = _plan(loaded, prepare_missing=True)
    _print_quote(prepared)
    refuse(loaded.config.study, prepared.quote)
    manifest = _manifest(prepared)
    manifest.save(prepared.store)
    from pipeline.mirror import Mirror
    from pipeline.training.segment import run_segment

    mirror, make_job = Mirror(prepared.config.track), _job_maker(prepared)
    for key in prepared.plan.order:
        report = run_segment(make_job(prepared.plan.segments[key]), mirror.open)
        if report.outcome != "done":
            console.print(f"{report.outcome}: {report.reason or key}", markup=False)
            return 0 if report.outcome == "diverged" else 1
    for row in manifest.rows(Ledger(prepared.store)):
        metrics = {k: round(row[k], 4) for k in ("val_error", "val_loss", "test_error") if k in row}
        console.print(f"{row['arch']} {row['digest'][:12]} {metrics}", markup=False)
    return 0


def status(arguments: Namespace) -> int:
    from pipeline.terminal import running, running_table

    config = _load(arguments).config
    store = Store(config.placement.store)
    ledger = Ledger(store)
    named = [w for w in arguments.words if w.startswith("study=")]
    manifests = [read_manifest(store, n) for n in ([config.study.name] if named else study_names(store))]
    found = {m.name: m.counts(ledger) for m in manifests}
    notes = running(store)
    if arguments.json:
        print(json.dumps({"studies": found, "running": notes}, indent=1))
        return 0
    if not found:
        console.print(f"No study in {store.describe('studies')} yet: `crossover run study=quickstart` makes one.")
    for name, counts in found.items():
        console.print(f"{name}: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()), markup=False)
    if notes:
        console.print(running_table(notes))
    for failure in [r for m in manifests for r in m.rows(ledger) if r["outcome"] == "failed"]:
        text = f"failed {failure['digest'][:12]} {failure['arch']}: {failure['reason']} Log: {failure['log']}"
        console.print(text, markup=False)
    return 0


def why(arguments: Namespace) -> int:
    """The wanted trial is one of the study's; its neighbour is the recorded trial that differs in fewest fields."""
    if not arguments.words or "=" in arguments.words[0]:
        raise BadInput("Say which trial: crossover why TRIAL, with the first digits of its digest.")
    trial, *arguments.words = arguments.words
    loaded = _load(arguments)
    store = Store(loaded.config.placement.store)
    ledger = Ledger(store)
    wanted = _find_trial(trial, loaded, ledger, arguments)
    others = [r for r in ledger.results() if r.digest != wanted[0]]
    if not others:
        raise BadInput(f"The ledger {store.describe('ledger')} holds no other trial to compare with.")
    closest = min(others, key=lambda r: (len(difference(r.trial, wanted[1])), r.digest))
    changes = difference(closest.trial, wanted[1])
    if arguments.json:
        print(json.dumps({"trial": wanted[0], "nearest": closest.digest, "difference": changes}, indent=1))
        return 0
    console.print(f"{wanted[0][:12]} differs from its nearest recorded trial {closest.digest[:12]} in:")
    for key, (before, after) in changes.items():
        console.print(f"  {key}: {before} -> {after}", markup=False)
    return 0


def logs(arguments: Namespace) -> int:
    if not arguments.words or "=" in arguments.words[0]:
        raise BadInput("Say which trial: crossover logs TRIAL, with the first digits of its digest.")
    trial, *arguments.words = arguments.words
    store = Store(_load(arguments).config.placement.store)
    digest = Ledger(store).find(trial)
    found = [k for k in store.keys("logs") if digest in k]
    failure = Ledger(store).failure(digest)
    if failure and failure.log:
        found.append("logs/" + failure.log.rsplit("/", 1)[-1])
    if not found:
        console.print(f"Trial {digest[:12]} left no log: only failures do.")
    for key in dict.fromkeys(found):
        console.print((store.get(key) or b"").decode(errors="replace"), markup=False)
    return 0


def fit(arguments: Namespace) -> int:
    from pipeline.conclude import fit_laws

    store, manifest = _recorded(arguments)
    analysis = fit_laws(store, manifest)
    if arguments.json:
        print(analysis.to_json())
        return 0
    console.print(analysis.headline, markup=False)
    for crossing in analysis.crossings:
        console.print(f"- {crossing.sentence}", markup=False)
    return 0


def report(arguments: Namespace) -> int:
    _conclude(*_recorded(arguments))
    return 0


def export(arguments: Namespace) -> int:
    from pipeline.conclude import fit_laws
    from pipeline.report.export import export as export_rows

    store, manifest = _recorded(arguments)
    folder = arguments.out or Path("export") / manifest.name
    analysis = json.loads(fit_laws(store, manifest).to_json())
    for path in export_rows(manifest.rows(Ledger(store)), folder, analysis=analysis):
        console.print(str(path), markup=False)
    return 0


def _load(arguments: Namespace) -> Loaded:
    return load(arguments.words, arguments.conf)


def _printed(arguments: Namespace, loaded: Loaded) -> bool:
    if arguments.cfg:
        print(loaded.yaml, end="")
    return arguments.cfg


def _homes(config: Config, prepare_missing: bool) -> dict[str, Home]:
    """Every data set of the config, by preset name; unprepared ones by their declared facts if those suffice."""
    root = Path(config.placement.data)
    homes: dict[str, Home] = {}
    for name, source in config.data.items():
        if prepare_missing:
            found = find(source, name, root) or _prepare(source, name, root)
        else:
            found = find(source, name, root)
        if found is not None:
            homes[name] = Home(found[0], str(found[1].absolute()))
            continue
        facts = source.facts(name)
        if facts is None:
            raise BadInput(
                f"Data set {name!r} is not prepared, so its size is unknown: run `crossover prepare` with the same "
                "overrides first."
            )
        homes[name] = Home(facts, "")
    return homes


def _prepare(source, name: str, root: Path):
    console.print(f"Preparing {name} ...", markup=False)
    return prepare_source(source, name, root)


def _plan(loaded: Loaded, prepare_missing: bool) -> Prepared:
    config = loaded.config
    store = Store(config.placement.store)
    homes = _homes(config, prepare_missing)
    datasets: dict[str, Dataset] = {name: home.dataset for name, home in homes.items()}
    trials = expand(config.study, config.archs, loaded.recipes, datasets)
    if prepare_missing:
        store.check_writable()
    ledger = Ledger(store)
    results = ledger.results(failures=False)
    known = {r.digest for r in results}
    built = build_plan(trials, datasets, known, lambda digest: stored_steps(store, digest))
    return Prepared(loaded, homes, store, built, quote(built, Throughput(results, config.device)))


def _job_maker(prepared: Prepared):
    config = prepared.config
    homes = {home.dataset.id: home for home in prepared.homes.values()}

    def make_job(segment: Segment) -> Job:
        return Job(segment, homes, prepared.store, config.placement, config.study.name, config.device.name)

    return make_job


def _manifest(prepared: Prepared) -> StudyManifest:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    planned: list[Planned] = list(prepared.plan.trials.values())
    manifest = describe(prepared.config.study, prepared.loaded.yaml, planned, now)
    whole = build_plan(prepared.plan.trials, prepared.plan.datasets)
    manifest.flops, manifest.flops_unshared = whole.flops, whole.flops_unshared
    return manifest


def _conclude(store: Store, manifest: StudyManifest) -> None:
    from pipeline.conclude import fit_laws, write_report

    analysis = fit_laws(store, manifest)
    where = write_report(store, manifest, analysis)
    console.print(analysis.headline, markup=False)
    console.print(f"Report: {where}", markup=False, soft_wrap=True)


def _recorded(arguments: Namespace) -> tuple[Store, StudyManifest]:
    """The store and the named study; without a name, the only one there is."""
    config = _load(arguments).config
    store = Store(config.placement.store)
    names = study_names(store)
    named = any(w.startswith(("study=", "study.name=")) for w in arguments.words)
    if not named and len(names) == 1:
        return store, read_manifest(store, names[0])
    if not named and names:
        raise BadInput(f"Say which study: study=NAME, one of {', '.join(names)}.")
    return store, read_manifest(store, config.study.name)


def _find_trial(prefix: str, loaded: Loaded, ledger: Ledger, arguments: Namespace):
    """(digest, canonical form) of a recorded trial, or of one that the study given on the line wants."""
    from pipeline.trial import canonical

    if any(w.startswith("study=") for w in arguments.words):
        trials = _plan(loaded, prepare_missing=False).plan.trials
        matches = [d for d in trials if d.startswith(prefix.lower())]
        if len(matches) == 1:
            return matches[0], canonical(trials[matches[0]].trial)
    digest = ledger.find(prefix)
    result = ledger.get(digest) or ledger.failure(digest)
    assert result is not None
    return digest, result.trial


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
        console.print("Data not prepared yet: sizes are the declared ones, and no trial can be known.")
