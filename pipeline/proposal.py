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
from pipeline.prepared import console, load_config, plan_study
from pipeline.terminal import amount, plain_table

MOST = 24
OPTIONS = ("axis", "goal", "pair", "width", "reach", "seeds")
"""Of study.adaptive, which may be written without it."""


def show_next(arguments: Namespace) -> int:
    budget = _budget(arguments)
    words = [w if w.partition("=")[0] not in OPTIONS else f"study.adaptive.{w}" for w in arguments.words]
    arguments.words = [w for w in words if not w.startswith("budget=")]
    prepared = plan_study(load_config(arguments), prepare_missing=False)
    grid = candidates(prepared)
    trials = standing(grid)
    advice = advise(grid, trials, budget, MOST, prepared.config.study.adaptive.width)
    power = [] if set(trials) & Ledger(prepared.store).known() else _power(grid)
    if arguments.json:
        print(json.dumps(_plain(grid, advice, power), indent=1, allow_nan=False))
        return 0
    _show_power(grid, power)
    _show(grid, advice)
    if advice.trials:
        written = [w for w in arguments.words if not w.startswith("study.adaptive.")]
        _show_command(written, bool(prepared.config.study.sweeps), _sweeps(advice))
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


def _power(grid: Candidates) -> list[Chance]:
    """For the study as written."""
    places = [sorted({grid.x(p) for p in grid.prepared.plan.trials.values() if _of(grid, p, f)}) for f in grid.pair]
    if min(map(len, places)) < 4:
        places = [list(np.geomspace(min(own), max(own), 8)) if len(own) > 1 else own for own in places]
    if min(map(len, places)) < 4:
        return []
    return power_table((np.array(places[0]), np.array(places[1])))


def _of(grid: Candidates, planned: Any, family: str) -> bool:
    return not planned.task and planned.digest in grid.trials and planned.pretrain.arch.family == family


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
        "sweeps": _sweeps(advice),
        "power": [asdict(chance) for chance in power],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _sweeps(advice: Advice) -> dict[str, dict[str, Any]]:
    """The proposal as sweeps of a study: trials that differ in budget only are one, and in seed only, too."""
    budgets: dict[tuple[str, int, int], list[int]] = {}
    for planned in advice.trials.values():
        trial = planned.pretrain
        budgets.setdefault((planned.arch, trial.subset.samples, trial.seed), []).append(trial.budget)
    seeds: dict[tuple[str, int, tuple[int, ...]], list[int]] = {}
    for (arch, samples, seed), found in budgets.items():
        seeds.setdefault((arch, samples, tuple(sorted(found))), []).append(seed)
    return {
        f"next{i}": {"archs": [arch], "sizes": [samples], "budgets": list(found), "seeds": sorted(own)}
        for i, ((arch, samples, found), own) in enumerate(seeds.items())
    }


def _show_power(grid: Candidates, power: list[Chance]) -> None:
    """Rows: where the crossing is; columns: scatter of a run and seeds."""
    if not power:
        return
    axis = grid.prepared.config.study.adaptive.axis
    top = max(max(grid.x(p) for p in grid.prepared.plan.trials.values() if _of(grid, p, f)) for f in grid.pair)
    table = plain_table(
        "What this study as written could see",
        "Expected 90th percentile of the error of the crossover, in decades; in brackets\nhow often it is seen at all, "
        "where not nearly always. Columns: standard deviation\nof a run in ln of the metric, and seeds at every place. "
        "Simulated with two typical laws.",
    )
    columns = list(dict.fromkeys((c.noise, c.seeds) for c in power))
    table.add_column("if they cross at", no_wrap=True)
    for noise, seeds in columns:
        table.add_column(f"{noise:g}\n{wording.counted(seeds, 'seed')}", justify="right", no_wrap=True)
    for reach in dict.fromkeys(c.reach for c in power):
        cells = {(c.noise, c.seeds): c for c in power if c.reach == reach}
        table.add_row(wording.place(axis, top / reach), *(_chance(cells[column]) for column in columns))
    console.print(table)


def _chance(c: Chance) -> str:
    said = "-" if c.ninety is None else f"{c.ninety:.2f}"
    return said if c.seen > 0.95 else f"{said} ({wording.chance(c.seen)})"


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
    table = plain_table(f"Next trials of {study.name}, in {study.adaptive.axis}", caption)
    for name in ("arch", "images", "samples seen", "seed", "place", "adds FLOPs", "sd with it"):
        table.add_column(name, justify="left" if name == "arch" else "right", no_wrap=name != "arch")
    for pick in proposal.picks:
        trial = advice.trials[pick.candidate.name].pretrain
        table.add_row(
            advice.trials[pick.candidate.name].arch,
            f"{trial.subset.samples:,}",
            f"{trial.budget:,}",
            str(trial.seed),
            wording.place(study.adaptive.axis, pick.candidate.x),
            amount(pick.cost),
            f"{pick.sd:.3g}" if math.isfinite(pick.sd) else "-",
        )
    console.print(table)
    console.print(f"Together {amount(proposal.cost, 'FLOPs')}. {proposal.stop}".rstrip(), markup=False)


def _show_command(words: list[str], sweeps_given: bool, sweeps: dict[str, dict[str, Any]]) -> None:
    """The command that runs the study with the proposal in it; the study's own trials keep their place."""
    own = [] if sweeps_given else ["'+study.sweeps.own={}'"]
    added = [f"'+study.sweeps.{name}={_short(sweep)}'" for name, sweep in sweeps.items()]
    console.print("To run them:", markup=False)
    quoted = [w if re.fullmatch(r"[\w=.,/:@%+-]+", w) else f"'{w}'" for w in words]
    console.print(" \\\n  ".join([" ".join(["crossover run", *quoted]), *own, *added]), markup=False, soft_wrap=True)


def _short(sweep: dict[str, Any]) -> str:
    """As Hydra and YAML read it."""
    return "{" + ",".join(f"{key}:[{','.join(map(str, values))}]" for key, values in sweep.items()) + "}"
