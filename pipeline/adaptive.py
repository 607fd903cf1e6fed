"""Adaptive: a study that grows until its crossover is known as well as wanted, or its budget is spent.

Each round is a plan of its own, priced and written down before it runs. Nothing is remembered between rounds but the
store: the trials of the study as written, those of its candidates that its manifest names, and those that have a
Result. So a command that died continues, with the round it was in.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.advice import Advice, advise
from pipeline.candidates import Candidates, candidates, standing
from pipeline.cluster import Summary
from pipeline.errors import OverBudget
from pipeline.laws import wording
from pipeline.laws.batch import batch_size
from pipeline.laws.design import Proposal
from pipeline.plan import build_plan, final_address
from pipeline.prepared import Prepared, conclude, console, manifest_of, priced
from pipeline.price import refuse
from pipeline.record import chain
from pipeline.store import Store
from pipeline.study import Planned, Study

MOST = 12
"""Trials of one batch."""

Execute = Callable[[Prepared], Summary]


@dataclass
class Spent:
    """Of one command, against the caps."""

    flops: float = 0.0
    hours: float = 0.0
    cost: float = 0.0

    def add(self, prepared: Prepared) -> None:
        total = prepared.quote.total
        self.flops += total.flops
        self.hours += total.hours or 0.0
        self.cost += total.cost or 0.0

    def left_of(self, study: Study) -> Study:
        """The study with its caps lowered by what this command has launched already."""
        pairs = {"max_flops": self.flops, "max_hours": self.hours, "max_cost": self.cost}
        caps = {name: getattr(study, name) for name in pairs}
        return replace(study, **{n: max(0.0, cap - pairs[n]) for n, cap in caps.items() if cap is not None})


def grow(prepared: Prepared, execute: Execute) -> int:
    """Run rounds until one of the reasons to stop; write the page. Returns the exit code."""
    grid = candidates(prepared)
    study, spent = prepared.config.study, Spent()
    trials = standing(grid)
    budget = study.adaptive.budget or 0.0
    _affordable(prepared, budget)
    while True:
        prepared = priced(prepared.loaded, prepared.homes, prepared.store, trials)
        refuse(spent.left_of(study), prepared.quote)
        manifest = manifest_of(prepared)
        manifest.save(prepared.store)
        if prepared.plan.segments:
            spent.add(prepared)
            summary = execute(prepared)
            if summary.interrupted:
                return 130
            if summary.failed:
                conclude(prepared.store, manifest)
                return 1
        grid.forget()
        advice, reason = decide(grid, trials, executed(prepared.store, trials))
        if reason:
            break
        _say(advice)
        trials = {**trials, **advice.trials}
    conclude(prepared.store, manifest)
    console.print(f"Stopped: {reason}", markup=False)
    return 0


def executed(store: Store, trials: dict[str, Planned]) -> float:
    """FLOPs that the finished trials rest on, each segment once."""
    records = {r.key: r.flops for p in trials.values() for r in chain(store, final_address(p).key)}
    return float(sum(records.values()))


def decide(grid: Candidates, trials: dict[str, Planned], spent: float) -> tuple[Advice, str]:
    """What to run next, or the reason to stop. ``spent``: FLOPs of all that was executed.

    A batch that pays for no trial, or narrows too little, doubles up to what is left before either is a reason to
    stop.
    """
    study = grid.prepared.config.study
    budget = study.adaptive.budget or 0.0
    left = budget - spent
    if left <= 0:
        return Advice(Proposal()), "The budget is spent."
    own = build_plan(grid.prepared.plan.trials, grid.prepared.plan.datasets).flops
    size = min(left, study.adaptive.batch or batch_size(budget - own, max(0.0, spent - own)) or left)
    advice = advise(grid, trials, size, MOST, study.adaptive.width)
    if reason := _narrow(advice, study):
        return advice, reason
    while (reason := _poor(advice, study)) and size < left:
        size = min(2 * size, left)
        advice = advise(grid, trials, size, MOST, study.adaptive.width)
    return advice, reason


def _narrow(advice: Advice, study: Study) -> str:
    """The reason to stop where the interval is as narrow as wanted, or nothing."""
    width = study.adaptive.width
    if not width or not advice.narrow(width):
        return ""
    return (
        f"The {wording.level(advice.crossing.level if advice.crossing else 0.9)} interval spans "
        f"{advice.width:.2g} decades, as narrow as study.adaptive.width={width:g} wants."
    )


def _poor(advice: Advice, study: Study) -> str:
    """The reason to stop where there is no trial to run, or none worth running; or nothing."""
    config, proposal = study.adaptive, advice.proposal
    if not proposal.picks:
        return proposal.stop
    if advice.first:
        return ""
    gain = 1 - proposal.picks[-1].sd / proposal.sd
    if gain < config.least:
        unseen = advice.crossing is not None and advice.crossing.answer != "crosses"
        return (
            f"The next {wording.place('compute', proposal.cost)} would narrow the interval by {100 * gain:.2g} % only, "
            f"less than study.adaptive.least={config.least:g}."
            + (" Where it is not seen, it may lie farther out: raise study.adaptive.reach." if unseen else "")
        )
    return ""


def _affordable(prepared: Prepared, budget: float) -> None:
    """Raises OverBudget when the study as written takes more than the budget for all."""
    flops = build_plan(prepared.plan.trials, prepared.plan.datasets).flops
    if flops > budget:
        raise OverBudget(
            f"Not launched: the first batch, the study as written, needs {flops:.4g} FLOPs, over "
            f"study.adaptive.budget={budget:g}. Raise the budget or write less."
        )


def _say(advice: Advice) -> None:
    proposal = advice.proposal
    if advice.crossing:
        console.print(advice.crossing.sentence, markup=False)
    said = f"Next: {wording.counted(len(advice.trials), 'trial')}, {wording.place('compute', proposal.cost)}"
    if not advice.first and proposal.asked == "crossing":
        said += f", from a standard deviation of {proposal.sd:.3g} decades to {proposal.picks[-1].sd:.3g}"
    console.print(f"{said}.", markup=False)
