"""Plan: the DAG of Segments that a set of Trials needs, with everything known already left out.

A Segment is a stretch of work with one start state and one end state. Trials of one trajectory share the segments of
its trunk, so a sweep of budgets B with cool-down share c executes (1 - c) max(B) + c sum(B) samples, the least
possible.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property

from pipeline.study import Planned
from pipeline.subset import Dataset
from pipeline.trial import FewShot, Pretrain, Transfer, digest


@dataclass(frozen=True)
class Address:
    """Where a state lives: (digest of what fixes the weights, optimiser step)."""

    digest: str
    step: int

    @property
    def key(self) -> str:
        return f"{self.digest[:2]}/{self.digest}/{self.step:09d}"


class Work(Enum):
    stable = "stable"
    """A stretch of a trunk."""
    decay = "decay"
    """From the trunk, or from scratch, to a finished Pretrain, and its evaluation."""
    transfer = "transfer"


@dataclass(frozen=True)
class Segment:
    work: Work
    planned: Planned
    """The Trial this segment belongs to; of a trunk, the longest one that rests on it."""
    start: Address | None
    """None starts from initialisation."""
    end: Address
    flops: int
    serves: tuple[str, ...] = ()
    """Digests of the Trials that rest on this segment."""

    @property
    def key(self) -> str:
        return self.end.key

    @property
    def first_step(self) -> int:
        return self.start.step if self.start and self.work is not Work.transfer else 0

    @property
    def steps(self) -> int:
        return self.end.step - self.first_step

    @property
    def final(self) -> bool:
        """Whether a Result is published at the end."""
        return self.work is not Work.stable


@dataclass
class Plan:
    """Segments by the key of their end address; a segment depends on the one that ends where it starts."""

    trials: dict[str, Planned]
    datasets: dict[str, Dataset]
    known: set[str]
    """Digests of trials whose Result is recorded already."""
    segments: dict[str, Segment] = field(default_factory=dict)

    def parent(self, segment: Segment) -> Segment | None:
        return self.segments.get(segment.start.key) if segment.start else None

    @cached_property
    def children(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {key: [] for key in self.segments}
        for key, segment in self.segments.items():
            if parent := self.parent(segment):
                found[parent.key].append(key)
        return found

    @cached_property
    def critical_path(self) -> dict[str, int]:
        """FLOPs from the start of each segment to the end of the longest chain that waits for it."""
        length: dict[str, int] = {}
        for key in reversed(self.order):
            length[key] = self.segments[key].flops + max((length[c] for c in self.children[key]), default=0)
        return length

    @cached_property
    def order(self) -> list[str]:
        """Keys, every segment after the one it starts from."""
        roots = [k for k, s in self.segments.items() if self.parent(s) is None]
        ordered: list[str] = []
        stack = roots[::-1]
        while stack:
            key = stack.pop()
            ordered.append(key)
            stack.extend(reversed(self.children[key]))
        return ordered

    @property
    def flops(self) -> int:
        """FLOPs still to be executed."""
        return sum(s.flops for s in self.segments.values())

    @property
    def flops_unshared(self) -> int:
        """FLOPs the same missing trials would take if each ran alone."""
        return sum(trial_flops(p, self.datasets) for d, p in self.trials.items() if d not in self.known)


def forward_flops(planned: Planned, dataset: Dataset) -> int:
    """Forward FLOPs of one image of ``dataset`` through the trial's arch."""
    arch = planned.pretrain.arch
    return arch.flops(dataset.image_size, dataset.channels, dataset.classes)


def trial_flops(planned: Planned, datasets: dict[str, Dataset]) -> int:
    """FLOPs of the trial by itself: training is 3 x forward x samples seen; few-shot is forward passes only."""
    by_id = {d.id: d for d in datasets.values()}
    trial = planned.trial
    if isinstance(trial, Pretrain):
        return 3 * forward_flops(planned, by_id[trial.subset.dataset]) * trial.budget
    target = by_id[trial.dataset]
    forward = forward_flops(planned, target)
    if isinstance(trial.protocol, FewShot):
        return forward * (trial.protocol.shots * target.classes + target.test_samples)
    return 3 * forward * trial.protocol.steps * trial.protocol.batch_size


def final_address(planned: Planned) -> Address:
    trial = planned.trial
    if isinstance(trial, Pretrain):
        return Address(planned.digest, trial.steps)
    return Address(planned.digest, 1 if isinstance(trial.protocol, FewShot) else trial.protocol.steps)


def build_plan(
    trials: dict[str, Planned],
    datasets: dict[str, Dataset],
    known: Iterable[str] = (),
    states: Callable[[str], set[int]] = lambda digest: set(),
) -> Plan:
    """The least work that yields every missing Result.

    ``known`` are digests with a Result; ``states(digest)`` gives the steps at which a state of that trajectory or
    trial is stored, whichever study made it.
    """
    plan = Plan(trials, datasets, set(known) & set(trials))
    missing = [p for d, p in trials.items() if d not in plan.known]
    needed: dict[str, Planned] = {p.digest: p for p in missing if isinstance(p.trial, Pretrain)}
    for item in missing:
        if isinstance(item.trial, Transfer):
            parent = trials.get(digest(item.trial.parent)) or Planned(
                item.trial.parent, digest(item.trial.parent), item.arch
            )
            if item.trial.parent.steps not in states(parent.digest):
                needed[parent.digest] = parent
    serves = _rests_on(needed, missing)
    trunks: dict[str, list[Planned]] = {}
    for item in needed.values():
        trunks.setdefault(item.pretrain.trajectory, []).append(item)
    for trajectory, members in trunks.items():
        _trunk(plan, trajectory, members, states(trajectory), serves)
    for item in missing:
        if isinstance(item.trial, Transfer):
            start = Address(digest(item.trial.parent), item.trial.parent.steps)
            end = final_address(item)
            plan.segments[end.key] = Segment(
                Work.transfer, item, start, end, trial_flops(item, datasets), (item.digest,)
            )
    return plan


def _rests_on(needed: dict[str, Planned], missing: list[Planned]) -> dict[str, tuple[str, ...]]:
    """Of each needed Pretrain, the missing trials that need its final state."""
    found: dict[str, list[str]] = {d: [] for d in needed}
    for item in missing:
        root = item.digest if isinstance(item.trial, Pretrain) else digest(item.trial.parent)
        if root in found:
            found[root].append(item.digest)
    return {d: tuple(v) for d, v in found.items()}


def _trunk(
    plan: Plan, trajectory: str, members: list[Planned], stored: set[int], serves: dict[str, tuple[str, ...]]
) -> None:
    """Segments of one trajectory: the trunk cut at every branch, and one decay for each member."""
    first = members[0]
    by_id = {d.id: d for d in plan.datasets.values()}
    per_step = 3 * forward_flops(first, by_id[first.pretrain.subset.dataset]) * first.pretrain.recipe.batch_size
    members = sorted(members, key=lambda p: p.pretrain.steps)
    branches = sorted({m.pretrain.branch_step for m in members} - {0} - stored)
    for step in branches:
        earlier = [s for s in (*stored, *branches) if s < step]
        start = Address(trajectory, max(earlier)) if earlier else None
        above = [m for m in members if m.pretrain.branch_step >= step]
        end = Address(trajectory, step)
        plan.segments[end.key] = Segment(
            Work.stable,
            above[-1],
            start,
            end,
            per_step * (step - (start.step if start else 0)),
            tuple(d for m in above for d in serves[m.digest]),
        )
    for member in members:
        branch = member.pretrain.branch_step
        end = Address(member.digest, member.pretrain.steps)
        plan.segments[end.key] = Segment(
            Work.decay,
            member,
            Address(trajectory, branch) if branch else None,
            end,
            per_step * (end.step - branch),
            serves[member.digest],
        )
