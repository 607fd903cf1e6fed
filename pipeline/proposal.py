"""Proposal: which trials of a study to run next, priced as they would run, sharing what the store already holds."""

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from pipeline.conclude import family_laws
from pipeline.errors import BadInput, nearest
from pipeline.laws import wording
from pipeline.laws.design import Candidate, Proposal, Side, propose
from pipeline.laws.law import Family
from pipeline.laws.points import AXES
from pipeline.ledger import Ledger
from pipeline.manifest import read_manifest, study_names
from pipeline.plan import build_plan, trial_flops
from pipeline.prepared import Prepared, console, load_config, plan_study
from pipeline.record import stored_steps
from pipeline.study import Planned
from pipeline.trial import Pretrain, digest

PLACES = 16
"""Places of each family that are considered, log-evenly spaced."""
BEYOND = 4.0
"""Times the largest place measured: no trial is proposed farther out."""
SEEDS = 2
"""New seeds of each place that are considered."""
MOST = 24
PAIR = ("vit", "resnet")
OPTIONS = ("budget", "axis")


def next(arguments: Namespace) -> int:
    """Propose, print, and run nothing."""
    budget, axis = _options(arguments)
    prepared = plan_study(load_config(arguments), prepare_missing=False)
    a, b = _pair(prepared, axis)
    trials = {p.digest: p for side in (a, b) for p in _trials(prepared, side, axis)}
    flops = {d: float(trial_flops(p, prepared.plan.datasets)) for d, p in trials.items()}
    candidates = [
        Candidate(d, p.pretrain.arch.family, flops[d] if axis == "compute" else float(p.pretrain.subset.samples))
        for d, p in trials.items()
    ]
    found = propose(_side(a), _side(b), candidates, partial(_cost, prepared, trials, {}), budget, most=MOST)
    if arguments.json:
        print(json.dumps(_plain(found, trials, axis), indent=1, allow_nan=False))
    else:
        _show(found, trials, axis, prepared.config.study.name)
    return 0


def _options(arguments: Namespace) -> tuple[float, str]:
    given = dict(w.split("=", 1) for w in arguments.words if w.split("=", 1)[0] in OPTIONS and "=" in w)
    arguments.words = [w for w in arguments.words if w.split("=", 1)[0] not in OPTIONS]
    if "budget" not in given:
        raise BadInput("Say how many FLOPs may be spent: crossover next study=NAME budget=1e15.")
    try:
        budget = float(given["budget"])
    except ValueError as error:
        raise BadInput(f"budget={given['budget']} is no number of FLOPs: write it like budget=1e15.") from error
    axis = given.get("axis", "compute")
    if axis not in AXES:
        raise BadInput(f"There is no axis {axis!r}: {nearest(axis, AXES)}")
    if not (np.isfinite(budget) and budget > 0):
        raise BadInput(f"The budget is a positive number of FLOPs, not {budget:g}.")
    return budget, axis


def _pair(prepared: Prepared, axis: str) -> tuple[Family, Family]:
    """The two families compared. Raises BadInput where nothing is recorded or a law is missing."""
    name = prepared.config.study.name
    if name not in study_names(prepared.store):
        raise BadInput(
            f"Nothing of study {name!r} is recorded yet, so there is no law to improve: begin with `crossover run "
            f"study={name}`, whose own trials cost {prepared.plan.flops:.2g} FLOPs."
        )
    manifest = read_manifest(prepared.store, name)
    laws = family_laws(manifest.rows(Ledger(prepared.store)), manifest.metric, axis)
    known = {law.law.family: law for law in laws}
    pair = [known[f] for f in PAIR if f in known] if set(PAIR) <= set(known) else laws[:2]
    if len(pair) < 2:
        raise BadInput(f"Study {name!r} has results of fewer than two families on the axis of {axis}: run it first.")
    for one in pair:
        if one.fitted is None:
            raise BadInput(f"{one.law.notes[0]} Run more of study {name!r} first.")
    return pair[0], pair[1]


def _trials(prepared: Prepared, family: Family, axis: str) -> list[Planned]:
    """Trials not yet recorded, at log-even places, each of the arch that leads its family about there."""
    assert family.fitted
    cells = family.fitted.cells
    study, data = prepared.plan.trials, prepared.plan.datasets
    known = [(c.x, study[run]) for c in cells for run in c.runs if run in study]
    found: dict[str, Planned] = {}
    for x in np.geomspace(cells[0].x, cells[-1].x * BEYOND, PLACES):
        if not known:
            break
        at, near = min(known, key=lambda pair: abs(np.log(pair[0] / x)))
        seeds = sorted({p.pretrain.seed for p in study.values() if p.arch == near.arch})
        for seed in [*seeds, *range(max(seeds) + 1, max(seeds) + 1 + SEEDS)]:
            trial = _moved(near.pretrain, axis, x / at, seed, data[near.pretrain.subset.dataset].samples)
            name = digest(trial)
            if name not in prepared.plan.known:
                found[name] = Planned(trial, name, near.arch)
    return list(found.values())


def _moved(trial: Pretrain, axis: str, factor: float, seed: int, most: int) -> Pretrain:
    """The same trial at another budget or on another number of samples."""
    if axis == "data":
        samples = min(most, max(1, round(trial.subset.samples * factor)))
        return replace(trial, subset=replace(trial.subset, samples=samples), seed=seed)
    batch = trial.recipe.batch_size
    return replace(trial, budget=batch * max(1, round(trial.budget * factor / batch)), seed=seed)


def _side(family: Family) -> Side:
    assert family.fitted
    found = family.fitted
    x = np.array([c.x for c in found.cells for _ in c.runs])
    return Side(family.law.family, found.fit, found.draws.theta, x, max(found.noise.point, 1e-4))


def _cost(
    prepared: Prepared,
    trials: dict[str, Planned],
    kept: dict[frozenset[str], float],
    taken: Sequence[Candidate],
    c: Candidate,
) -> float:
    """What a trial adds to the FLOPs of those taken, with trunks shared and states of the store used."""

    def flops(names: frozenset[str]) -> float:
        if names not in kept:
            chosen = {name: trials[name] for name in names}
            states = partial(stored_steps, prepared.store)
            kept[names] = float(build_plan(chosen, prepared.plan.datasets, prepared.plan.known, states).flops)
        return kept[names]

    before = frozenset(t.name for t in taken)
    return max(1.0, flops(before | {c.name}) - (flops(before) if before else 0.0))


def _plain(found: Proposal, trials: dict[str, Planned], axis: str) -> dict[str, object]:
    finite = np.isfinite(found.sd)
    return {
        "axis": axis,
        "sd_log10_crossover": found.sd if finite else None,
        "probability_of_crossing": found.crossing,
        "flops": found.cost,
        "stop": found.stop,
        "trials": [
            {
                "arch": trials[p.candidate.name].arch,
                "samples": trials[p.candidate.name].pretrain.subset.samples,
                "budget": trials[p.candidate.name].pretrain.budget,
                "seed": trials[p.candidate.name].pretrain.seed,
                "x": p.candidate.x,
                "flops": p.cost,
                "sd_log10_crossover": p.sd,
            }
            for p in found.picks
        ],
        "sweeps": _sweeps(found, trials),
    }


def _sweeps(found: Proposal, trials: dict[str, Planned]) -> dict[str, dict[str, Sequence[object]]]:
    """The proposal as sweeps of a study."""
    out: dict[str, dict[str, Sequence[object]]] = {}
    for i, pick in enumerate(found.picks):
        planned = trials[pick.candidate.name]
        trial = planned.pretrain
        places: dict[str, Sequence[object]] = {"sizes": [trial.subset.samples], "budgets": [trial.budget]}
        out[f"next_{i}"] = {"archs": [planned.arch], **places, "seeds": [trial.seed]}
    return out


def _show(found: Proposal, trials: dict[str, Planned], axis: str, study: str) -> None:
    from rich.table import Table

    if found.picks:
        table = Table(title=f"next trials of {study}, for the crossover in {axis}", title_justify="left")
        for column in ("arch", "place", "seed", "adds FLOPs", "sd of log10(crossover) with it"):
            table.add_column(column)
        for pick in found.picks:
            planned = trials[pick.candidate.name]
            place = wording.place(axis, pick.candidate.x)
            table.add_row(planned.arch, place, str(planned.pretrain.seed), f"{pick.cost:.2g}", f"{pick.sd:.3g}")
        console.print(table)
        console.print(
            f"As things are: {found.sd:.3g}; the laws cross in {wording.chance(found.crossing)} of the draws."
        )
    console.print(found.stop, markup=False)
    if found.picks:
        console.print("To run them, put this under study.sweeps of a preset of your own (--conf DIR):")
        for name, sweep in _sweeps(found, trials).items():
            parts = ", ".join(f"{key}: [{', '.join(map(str, values))}]" for key, values in sweep.items())
            console.print(f"  {name}: {{{parts}}}", markup=False, soft_wrap=True)
