"""The verbs that read what the store holds, from any terminal, while a study runs or later."""

import json
from argparse import Namespace
from pathlib import Path

from pipeline.config import Loaded
from pipeline.errors import BadInput
from pipeline.ledger import Ledger
from pipeline.manifest import StudyManifest, read_manifest, study_names
from pipeline.prepared import conclude, console, load_config, open_store, plan_study
from pipeline.store import Store
from pipeline.trial import canonical, difference


def status(arguments: Namespace) -> int:
    from pipeline.terminal import running, running_table

    config = _load(arguments).config
    store = open_store(config)
    ledger = Ledger(store)
    named = _names_a_study(arguments)
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
        text = f"failed {failure['digest'][:12]} {failure['arch']}: {failure['reason']}. Log: {failure['log']}"
        console.print(text, markup=False)
    return 0


def why(arguments: Namespace) -> int:
    """The wanted trial is one of the study's; its neighbour is the recorded trial that differs in fewest fields."""
    if not arguments.words or "=" in arguments.words[0]:
        raise BadInput("Say which trial: crossover why TRIAL, with the first digits of its digest.")
    trial, *arguments.words = arguments.words
    loaded = _load(arguments)
    store = open_store(loaded.config)
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
    store = open_store(_load(arguments).config)
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
    conclude(*_recorded(arguments))
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


def _recorded(arguments: Namespace) -> tuple[Store, StudyManifest]:
    """The store and the named study; without a name, the only one there is."""
    config = _load(arguments).config
    store = open_store(config)
    names = study_names(store)
    named = _names_a_study(arguments)
    if not named and len(names) == 1:
        return store, read_manifest(store, names[0])
    if not named and names:
        raise BadInput(f"Say which study: study=NAME, one of {', '.join(names)}.")
    return store, read_manifest(store, config.study.name)


def _load(arguments: Namespace) -> Loaded:
    """The config; ``study=NAME`` may be a preset, or a study of the store that was given on the command line."""
    try:
        return load_config(arguments)
    except BadInput as error:
        if not str(error).startswith("There is no preset study="):
            raise
    name = [w.removeprefix("study=") for w in arguments.words if w.startswith("study=")][-1]
    arguments.words = [w for w in arguments.words if not w.startswith("study=")] + [f"study.name={name}"]
    loaded = load_config(arguments)
    read_manifest(open_store(loaded.config), name)
    return loaded


def _names_a_study(arguments: Namespace) -> bool:
    return any(word.startswith(("study=", "study.name=")) for word in arguments.words)


def _find_trial(prefix: str, loaded: Loaded, ledger: Ledger, arguments: Namespace):
    """(digest, canonical form) of a recorded trial, or of one that the study given on the line wants."""
    if any(w.startswith("study=") for w in arguments.words):
        trials = plan_study(loaded, prepare_missing=False).plan.trials
        matches = [d for d in trials if d.startswith(prefix.lower())]
        if len(matches) == 1:
            return matches[0], canonical(trials[matches[0]].trial)
    digest = ledger.find(prefix)
    result = ledger.get(digest) or ledger.failure(digest)
    assert result is not None
    return digest, result.trial
