"""Candidates: the trials a study could still run, where they lie on its axis, and what each would add to its FLOPs.

They are the study's own archs at its budgets (or data sizes) and between and past them, half an octave apart, with its
seeds and a few more. They depend on the study as written and on nothing that ran, so that a study which grew can be
put together again from the Ledger.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from pipeline.errors import BadInput, nearest
from pipeline.laws.design import Candidate
from pipeline.ledger import Ledger
from pipeline.plan import build_plan, trial_flops
from pipeline.prepared import Prepared
from pipeline.record import stored_steps
from pipeline.store import Store
from pipeline.study import Planned
from pipeline.trial import Pretrain, digest

STEP = math.sqrt(2.0)
ORDER = ("vit", "resnet", "hybrid")


@dataclass
class Candidates:
    prepared: Prepared
    """The study as written."""
    trials: dict[str, Planned]
    pair: tuple[str, str]
    """Families compared."""
    states: dict[str, set[int]] = field(default_factory=dict)
    kept: dict[tuple[frozenset[str], str], float] = field(default_factory=dict)

    def x(self, planned: Planned) -> float:
        """FLOPs, or unique samples."""
        if self.prepared.config.study.adaptive.axis == "data":
            return float(planned.pretrain.subset.samples)
        return float(trial_flops(planned, self.prepared.plan.datasets))

    @cached_property
    def places(self) -> dict[str, Candidate]:
        return {d: Candidate(d, p.pretrain.arch.family, self.x(p)) for d, p in self.trials.items()}

    def left(self, known: Iterable[str]) -> list[Candidate]:
        """Of the pair, those that did not run."""
        done = set(known)
        return [c for d, c in self.places.items() if d not in done and c.family in self.pair]

    def cost(self, taken: Sequence[Candidate], c: Candidate) -> float:
        """FLOPs that a trial adds to those taken, as the plan would have it: shared trunks and stored states used."""
        trajectory = self._trajectory[c.name]
        others = frozenset(t.name for t in taken if self._trajectory[t.name] == trajectory)
        if (others, c.name) not in self.kept:
            self.kept[others, c.name] = self._flops(others | {c.name}) - self._flops(others)
        return max(1.0, self.kept[others, c.name])

    def forget(self) -> None:
        """After something ran: costs are those of the store as it is."""
        self.states.clear()
        self.kept.clear()

    def _flops(self, names: frozenset[str]) -> float:
        chosen = {name: self.trials[name] for name in sorted(names)}
        return float(build_plan(chosen, self.prepared.plan.datasets, (), self._stored).flops)

    def _stored(self, name: str) -> set[int]:
        if name not in self.states:
            self.states[name] = stored_steps(self.prepared.store, name)
        return self.states[name]

    @cached_property
    def _trajectory(self) -> dict[str, str]:
        return {d: p.pretrain.trajectory for d, p in self.trials.items()}


def candidates(prepared: Prepared) -> Candidates:
    """Of a study as written. Raises BadInput where it cannot grow along its axis, or names a family it has not."""
    config = prepared.config.study.adaptive
    own = [p for p in prepared.plan.trials.values() if isinstance(p.trial, Pretrain)]
    moved = _sizes(prepared, own) if config.axis == "data" else _budgets(prepared, own)
    found: dict[str, Planned] = {}
    for template, trial in moved:
        for seed in _seeds(own, template, config.seeds):
            seeded = replace(trial, seed=seed)
            found.setdefault(digest(seeded), Planned(seeded, digest(seeded), template.arch, {"adaptive"}))
    return Candidates(prepared, found, _pair(config.pair, {p.pretrain.arch.family for p in own}))


def standing(grid: Candidates) -> dict[str, Planned]:
    """The study as it stands: as written, and what was added to it or is known of its candidates."""
    written, store = grid.prepared.plan.trials, grid.prepared.store
    named = Ledger(store).known() | _named(store, grid.prepared.config.study.name)
    return {**written, **{d: p for d, p in grid.trials.items() if d in named and d not in written}}


def _named(store: Store, study: str) -> set[str]:
    """Digests in the study's manifest; nothing where there is none that can be read, for the Ledger says the rest."""
    try:
        return set(json.loads(store.get(f"studies/{study}/study.json") or b"{}").get("trials", {}))
    except (ValueError, AttributeError):
        return set()


def _budgets(prepared: Prepared, own: list[Planned]) -> list[tuple[Planned, Pretrain]]:
    """Each arch and recipe on the study's largest data size, from its least budget on."""
    largest = max(p.pretrain.subset.samples for p in own)
    reach, moved = prepared.config.study.adaptive.reach, []
    for members in _alike(p for p in own if p.pretrain.subset.samples == largest):
        budgets = {p.pretrain.budget for p in members}
        trial = members[0].pretrain
        batch = trial.recipe.batch_size
        for budget in _between(min(budgets), max(budgets) * reach) + sorted(budgets):
            moved.append((members[0], replace(trial, budget=batch * max(1, round(budget / batch)))))
    return moved


def _sizes(prepared: Prepared, own: list[Planned]) -> list[tuple[Planned, Pretrain]]:
    """Each arch and recipe that has several sizes at one budget: at the largest such budget, as its law is fitted."""
    study, moved = prepared.config.study, []
    datasets = {d.id: d for d in prepared.plan.datasets.values()}
    for members in _alike(own):
        sizes: dict[int, set[int]] = {}
        for p in members:
            sizes.setdefault(p.pretrain.budget, set()).add(p.pretrain.subset.samples)
        several = [budget for budget, found in sizes.items() if len(found) > 1]
        if not several:
            continue
        trial = replace(members[0].pretrain, budget=max(several))
        found, most = sizes[max(several)], datasets[trial.subset.dataset].samples
        for size in _between(min(found), min(most, max(found) * study.adaptive.reach)) + sorted(found):
            block = (study.shuffle_block, study.shuffle_window) if 0 < study.shuffle_block < size else (0, 0)
            subset = replace(trial.subset, samples=round(size), replicate=0, block=block[0], window=block[1])
            moved.append((members[0], replace(trial, subset=subset)))
    if not moved:
        raise BadInput(
            f"Study {study.name!r} runs no arch on several data sizes at one budget, so it cannot grow in data: give "
            "it sizes, or take axis=compute."
        )
    return moved


def _alike(planned: Iterable[Planned]) -> list[list[Planned]]:
    """Grouped by arch and recipe."""
    groups: dict[tuple[str, str], list[Planned]] = {}
    for p in planned:
        groups.setdefault((p.arch, digest(p.pretrain.recipe)), []).append(p)
    return list(groups.values())


def _between(low: float, high: float) -> list[float]:
    """Half an octave apart, both ends included."""
    count = max(1, round(math.log(high / low) / math.log(STEP))) if high > low else 0
    return [low * (high / low) ** (i / count) for i in range(count + 1)] if count else [low]


def _seeds(own: list[Planned], template: Planned, most: int) -> list[int]:
    """The study's own seeds of that arch, then new ones."""
    seeds = sorted({p.pretrain.seed for p in own if p.arch == template.arch})
    new = (seed for seed in range(len(seeds) + most) if seed not in seeds)
    return [*seeds, *(seed for seed, _ in zip(new, range(max(0, most - len(seeds))), strict=False))]


def _pair(wanted: list[str], families: set[str]) -> tuple[str, str]:
    for name in wanted:
        if name not in families:
            raise BadInput(f"study.adaptive.pair names {name!r}, a family the study has not: {nearest(name, families)}")
    ordered = wanted or [f for f in ORDER if f in families] + sorted(families - set(ORDER))
    if len(ordered) < 2:
        raise BadInput(
            f"A crossover is between two families, and the study has {ordered[0]} only: add an arch of another."
        )
    return ordered[0], ordered[1]
