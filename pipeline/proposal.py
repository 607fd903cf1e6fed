"""Proposal: the verb ``next``. It prints which trials a study should run next, and how to run them; it runs nothing."""

import json
import math
import re
from argparse import Namespace
from dataclasses import asdict
from typing import Any

import numpy as np

from pipeline.advice import Advice, advise
from pipeline.candidates import Candidates, candidates, standing
from pipeline.errors import BadInput
from pipeline.laws import wording
from pipeline.laws.power import Chance, power_table
from pipeline.ledger import Ledger
from pipeline.prepared import Prepared, console, load_config, plan_study
from pipeline.study import Planned
from pipeline.terminal import amount, plain_table

MOST = 24
FEWEST, SPREAD = 4, 8
"""Places that a law with a floor needs, and those that are simulated for a study with fewer."""
OPTIONS = ("axis", "goal", "pair", "width", "reach", "seeds")
"""Of study.adaptive, which may be written without it."""
COLUMNS = ("arch", "images", "samples seen", "seed", "place", "adds FLOPs", "sd with it")


def show_next(arguments: Namespace) -> int:
    budget = _budget(arguments)
    words = [w if w.partition("=")[0] not in OPTIONS else f"study.adaptive.{w}" for w in arguments.words]
    arguments.words = [w for w in words if not w.startswith("budget=")]
    prepared = plan_study(load_config(arguments), prepare_missing=False)
    grid = candidates(prepared)
    trials = standing(grid)
    advice = advise(grid, trials, budget, MOST, prepared.config.study.adaptive.width)
    known = Ledger(prepared.store).known()
    power = [] if set(trials) & known else _power(_places(grid))
    added = {d: p for d, p in trials.items() if d in known and d not in prepared.plan.trials}
    sweeps = _sweeps([*added.values(), *advice.trials.values()])
    if arguments.json:
        print(json.dumps({**_plain(grid, advice, power), "sweeps": sweeps}, indent=1, allow_nan=False))
        return 0
    _show_power(grid, power)
    _show(grid, advice)
    if advice.trials:
        written = [w for w in arguments.words if not w.startswith("study.adaptive.")]
        _show_command(prepared, written, sweeps)
    return 0


def _budget(arguments: Namespace) -> float:
    given = [w.partition("=")[2] for w in arguments.words if w.startswith("budget=")]
    if not given:
        raise BadInput("Say how many FLOPs may be spent: crossover next study=NAME budget=1e15.")
    try:
        budget = float(given[-1])
    except ValueError as error:
        raise BadInput(f"budget={given[-1]} is no number of FLOPs: write it like budget=1e15.") from error
    if not (math.isfinite(budget) and budget > 0):
        raise BadInput(f"budget={given[-1]} must be a positive number of FLOPs, for example budget=1e15.")
    return budget


def _places(grid: Candidates) -> list[list[float]]:
    """On the axis, of each family of the pair in the study as written."""
    own = [p for p in grid.prepared.plan.trials.values() if not p.task and p.digest in grid.trials]
    return [sorted({grid.x(p) for p in own if p.pretrain.arch.family == family}) for family in grid.pair]


def _power(places: list[list[float]]) -> list[Chance]:
    """For the study as written; with ``SPREAD`` places instead where it has too few for a law."""
    if min(map(len, places)) < FEWEST:
        places = [list(np.geomspace(min(own), max(own), SPREAD)) if len(own) > 1 else own for own in places]
    if min(map(len, places)) < FEWEST:
        return []
    return power_table((np.array(places[0]), np.array(places[1])))


def _plain(grid: Candidates, advice: Advice, power: list[Chance]) -> dict[str, Any]:
    proposal, adaptive = advice.proposal, grid.prepared.config.study.adaptive
    return {
        "study": grid.prepared.config.study.name,
        "axis": adaptive.axis,
        "pair": list(grid.pair),
        "asked": "first batch" if advice.first else proposal.asked,
        "sd": _finite(proposal.sd),
        "probability_of_crossing": None if advice.first else proposal.crossing,
        "crossing": asdict(advice.crossing) if advice.crossing else None,
        "flops": proposal.cost,
        "stop": proposal.stop,
        "trials": [
            {
                "digest": p.candidate.name,
                "arch": advice.trials[p.candidate.name].arch,
                "samples": advice.trials[p.candidate.name].pretrain.subset.samples,
                "budget": advice.trials[p.candidate.name].pretrain.budget,
                "seed": advice.trials[p.candidate.name].pretrain.seed,
                "x": p.candidate.x,
                "flops": p.cost,
                "sd": _finite(p.sd),
            }
            for p in proposal.picks
        ],
        "power": [asdict(chance) for chance in power],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _sweeps(trials: list[Planned]) -> dict[str, dict[str, Any]]:
    """Trials as sweeps of a study: those that differ in one of its lists only are one."""
    sweeps: list[dict[str, tuple[Any, ...]]] = []
    for planned in trials:
        t = planned.pretrain
        lists = {"archs": planned.arch, "sizes": t.subset.samples, "budgets": t.budget, "seeds": t.seed}
        sweeps.append({name: (value,) for name, value in lists.items()})
    for name in ("budgets", "seeds", "sizes", "archs"):
        merged: dict[tuple[Any, ...], dict[str, tuple[Any, ...]]] = {}
        for sweep in sweeps:
            alike = merged.setdefault(tuple({**sweep, name: ()}.items()), {**sweep, name: ()})
            alike[name] = tuple(sorted({*alike[name], *sweep[name]}))
        sweeps = list(merged.values())
    return {f"next{i}": {name: list(values) for name, values in sweep.items()} for i, sweep in enumerate(sweeps)}


def _show_power(grid: Candidates, power: list[Chance]) -> None:
    """Rows: where the crossing is; columns: scatter of a run and seeds."""
    if not power:
        return
    axis, places = grid.prepared.config.study.adaptive.axis, _places(grid)
    top, counts = max(map(max, places)), wording.listed([str(len(own)) for own in places])
    title = "What this study as written could see"
    if min(map(len, places)) < FEWEST:
        title = f"What {SPREAD} places of each family over the range of this study could see"
        title += f"\n(it has {counts}, and a law needs {FEWEST})"
    table = plain_table(
        title,
        "90th percentile of the error of the crossover, in decades; or, where fewer than\nnine in ten such studies see "
        "one, how many do. Columns: scatter of a run (sd of ln\nof the metric) and seeds at every place. Simulated "
        "with two typical laws.",
    )
    columns = list(dict.fromkeys((c.noise, c.seeds) for c in power))
    table.add_column("if they cross at", no_wrap=True)
    for noise, seeds in columns:
        table.add_column(f"sd {noise:g}\n{wording.counted(seeds, 'seed')}", justify="right", no_wrap=True)
    for reach in dict.fromkeys(c.reach for c in power):
        cells = {(c.noise, c.seeds): c for c in power if c.reach == reach}
        table.add_row(wording.place(axis, top / reach), *(_chance(cells[column]) for column in columns))
    console.print(table)


def _chance(c: Chance) -> str:
    return f"seen {c.seen:.0%}" if c.ninety is None else f"{c.ninety:.2f}"


def _show(grid: Candidates, advice: Advice) -> None:
    study, proposal = grid.prepared.config.study, advice.proposal
    if advice.crossing:
        console.print(advice.crossing.sentence, markup=False)
    if not proposal.picks:
        console.print(proposal.stop, markup=False)
        return
    asked = {"crossing": "log10 of the crossover", "gap": "ln of their ratio where they are nearest"}
    what = asked.get(proposal.asked, "ln of the laws at the frontier")
    caption = "First places, spread: nothing is known yet." if advice.first else f"sd: expected, of {what}"
    if proposal.asked == "crossing" and not advice.first:
        chance = wording.chance(proposal.crossing)
        caption += f", which is {proposal.sd:.3g} now;\nthe laws cross in {chance} of the draws."
    trials = [advice.trials[pick.candidate.name] for pick in proposal.picks]
    sizes = {t.pretrain.subset.samples for t in trials}
    caption += f"\nAll on {sizes.copy().pop():,} images." if len(sizes) == 1 else ""
    table = plain_table(f"Next trials of {study.name}, in {study.adaptive.axis}", caption)
    left_out = {"images" if len(sizes) == 1 else "", "sd with it" if advice.first else ""}
    for name in (n for n in COLUMNS if n not in left_out):
        table.add_column(name, justify="left" if name == "arch" else "right", no_wrap=name != "arch")
    for planned, pick in zip(trials, proposal.picks, strict=True):
        trial = planned.pretrain
        cells = (
            planned.arch,
            f"{trial.subset.samples:,}",
            f"{trial.budget:,}",
            str(trial.seed),
            wording.place(study.adaptive.axis, pick.candidate.x),
            amount(pick.cost),
            f"{pick.sd:.3g}",
        )
        table.add_row(*(cell for name, cell in zip(COLUMNS, cells, strict=True) if name not in left_out))
    console.print(table)
    after = "Once they ran, ask again: what is next can be planned then." if advice.first else proposal.stop
    console.print(f"Together {amount(proposal.cost, 'FLOPs')}. {after}".rstrip(), markup=False)


def _show_command(prepared: Prepared, words: list[str], sweeps: dict[str, dict[str, Any]]) -> None:
    """The command that runs the proposal, within the study as written where that ran or was begun. ``sweeps`` hold what
    was added before, too, so that the study keeps it."""
    plan, own, adaptive = prepared.plan, prepared.config.study.sweeps, prepared.config.study.adaptive
    total = wording.counted(len(plan.trials), "trial")
    if plan.known:
        kept = [] if own else ["'+study.sweeps.own={}'"]
        said = f", and the {amount(plan.flops, 'FLOPs')} that the study as written has left" if plan.flops else ""
    else:
        added = {w.split("=")[0].split(".")[2] for w in words if w.startswith("+study.sweeps.")}
        words = [w for w in words if not w.startswith("+study.sweeps.")]
        kept = [f"~study.sweeps.{name}" for name in own if name not in added]
        said = f" without the {total} of the study as written ({amount(plan.flops, 'FLOPs')}), of which none ran"
    kept += ["study.adaptive.budget=null"] if adaptive.budget is not None else []
    wanted = [f"'+study.sweeps.{name}={_short(sweep)}'" for name, sweep in sweeps.items()]
    said += "; its tasks come on top" if prepared.config.study.tasks else ""
    console.print(f"To run them{said}:", markup=False)
    quoted = [w if re.fullmatch(r"[\w=.,/:@%+-]+", w) else f"'{w}'" for w in words]
    console.print(" \\\n  ".join([" ".join(["crossover run", *quoted]), *kept, *wanted]), markup=False, soft_wrap=True)


def _short(sweep: dict[str, Any]) -> str:
    """As Hydra and YAML read it."""
    return "{" + ",".join(f"{key}:[{','.join(map(str, values))}]" for key, values in sweep.items()) + "}"
