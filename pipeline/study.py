"""Study: a named question that expands to Trials.

A study is a set of sweeps over (arch, subset size, budget, seed) and of downstream tasks. A sweep gives its budgets
in exactly one of four ways, which make the usual designs: ``budgets`` (grid, data scale at equal steps), ``epochs``
(data scale at equal epochs), ``flops`` (isoFLOP), ``samples_per_param`` (a model ladder).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from itertools import product

from pipeline.arch import Arch, External
from pipeline.errors import BadInput, nearest
from pipeline.recipe import Recipe
from pipeline.subset import Dataset, Subset
from pipeline.task import Parents, Task
from pipeline.trial import Pretrain, Transfer, Trial, digest

LARGEST = 1e15
"""Samples seen: more than any run, and few enough for exact arithmetic."""


class Metric(Enum):
    """What the laws are fitted to; all are lower-is-better."""

    val_error = "val_error"
    val_loss = "val_loss"


@dataclass
class Sweep:
    """Some archs x sizes x budgets x seeds. An empty list means the study's own."""

    archs: list[str] = field(default_factory=list)
    """Preset names, of those the study has."""
    sizes: list[int] = field(default_factory=list)
    """Unique training samples; 0 is the whole data set."""
    seeds: list[int] = field(default_factory=list)
    replicates: list[int] = field(default_factory=list)
    """Draws of each size, for error bars: the r-th is the stored order from r times the size on, disjoint from the
    others; where the data does not hold so many, draw 0 stands for it."""
    budgets: list[int] = field(default_factory=list)
    """Samples seen."""
    epochs: list[float] = field(default_factory=list)
    """Samples seen, in passes over the subset."""
    flops: list[float] = field(default_factory=list)
    """Training FLOPs, 3 x forward x samples seen."""
    samples_per_param: list[float] = field(default_factory=list)


@dataclass
class Adaptive:
    """How a study grows by itself, and what ``crossover next`` proposes: the trials that say most per FLOP."""

    budget: float | None = None
    """FLOPs that the study may execute in all, its own trials included. With it ``run`` adds batches of trials."""
    width: float = 0.0
    """Wanted interval of the crossover, in decades from end to end; 0: as narrow as the budget makes it."""
    batch: float | None = None
    """FLOPs before the laws are fitted anew; without it each batch costs twice the last, four in all."""
    least: float = 0.02
    """Stop when a batch is expected to narrow the interval by less than this share."""
    axis: str = "compute"
    """compute or data."""
    goal: str = "crossover"
    """What is to be known best: crossover, or frontier, the laws themselves towards the end of the axis."""
    pair: list[str] = field(default_factory=list)
    """The two families; without it the first two that the study has of vit, resnet, hybrid and others."""
    reach: float = 4.0
    """Budgets or sizes are proposed up to this factor past the study's largest, sizes no further than the data."""
    seeds: int = 3
    """Of each place, at most."""

    def __post_init__(self) -> None:
        for name in ("budget", "batch"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise BadInput(f"study.adaptive.{name} must be a positive number of FLOPs, not {value:g}.")
        if not 0 <= self.width < math.inf:
            raise BadInput(f"study.adaptive.width must be a number of decades and not negative, not {self.width:g}.")
        if not 0 <= self.least < 1:
            raise BadInput(f"study.adaptive.least must lie between 0 and 1, not at {self.least:g}.")
        for name, valid in (("axis", ("compute", "data")), ("goal", ("crossover", "frontier"))):
            if getattr(self, name) not in valid:
                value = getattr(self, name)
                raise BadInput(f"study.adaptive.{name} has no {value!r}: {nearest(value, valid)}")
        if len(self.pair) not in (0, 2) or len(set(self.pair)) != len(self.pair):
            raise BadInput("study.adaptive.pair names two families, for example study.adaptive.pair=[vit,resnet].")
        if not 1 <= self.reach < LARGEST or not 1 <= self.seeds < 1000:
            raise BadInput("study.adaptive.reach must be at least 1, and study.adaptive.seeds between 1 and 999.")


@dataclass
class Study:
    name: str = "study"
    question: str = "At what data and compute does a ViT overtake a CNN?"
    data: str = ""
    """The upstream data set, one of ``data``."""
    metric: Metric = Metric.val_error
    seeds: list[int] = field(default_factory=lambda: [0])
    sizes: list[int] = field(default_factory=lambda: [0])
    replicates: list[int] = field(default_factory=lambda: [0])
    budgets: list[int] = field(default_factory=list)
    sweeps: dict[str, Sweep] = field(default_factory=dict)
    """Empty: one sweep over everything above."""
    shuffle_block: int = 0
    """For data larger than a node's cache: images in a row of the stored order that are visited together, about as many
    as a shard has. 0: every epoch is one permutation of the whole subset."""
    shuffle_window: int = 16
    """Blocks that are mixed with one another, and lie in the cache at once."""
    tasks: dict[str, Task] = field(default_factory=dict)
    adaptive: Adaptive = field(default_factory=Adaptive)
    max_flops: float | None = None
    """Refuse to launch above this many FLOPs still to be executed."""
    max_hours: float | None = None
    """Refuse to launch above this many device-hours."""
    max_cost: float | None = None
    """Refuse to launch above this much money, in the currency of the device table."""

    def __post_init__(self) -> None:
        if not self.name or any(c in self.name for c in "/\\ ") or self.name.startswith("."):
            raise BadInput(f"study.name must be a plain folder name, not {self.name!r}.")
        for name in ("max_flops", "max_hours", "max_cost"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise BadInput(f"study.{name} must not be negative, not {value}.")
        if self.shuffle_block < 0 or self.shuffle_window < 1:
            raise BadInput(
                "study.shuffle_block must not be negative and study.shuffle_window at least 1, not "
                f"{self.shuffle_block} and {self.shuffle_window}."
            )
        for name in ("seeds", "sizes", "replicates"):
            if not getattr(self, name):
                raise BadInput(f"study.{name} is empty: give at least one, for example study.{name}=[0].")


@dataclass
class Planned:
    """A Trial of this study, with the names people know its parts by. Names are never identity."""

    trial: Trial
    digest: str
    arch: str
    sweeps: set[str] = field(default_factory=set)
    task: str = ""

    @property
    def pretrain(self) -> Pretrain:
        return self.trial.parent if isinstance(self.trial, Transfer) else self.trial


def expand(
    study: Study, archs: Mapping[str, Arch], recipes: list[Recipe], datasets: Mapping[str, Dataset]
) -> dict[str, Planned]:
    """All Trials by digest, each once, parents before their transfers.

    Raises BadInput for a size larger than the data, an image the arch cannot take, or a name that does not exist.
    """
    upstream = _dataset(study.data, datasets, "study.data")
    if upstream.prepared and not upstream.val_samples:
        raise BadInput(
            f"The study is judged on validation images, but {upstream.name} has none: give it a val folder, more "
            f"images, or a larger data.{study.data}.val_share."
        )
    if not archs:
        raise BadInput("The study has no arch: add one, for example arch=vit_nano,resnet_nano.")
    planned: dict[str, Planned] = {}
    for label, sweep in (study.sweeps or {"all": Sweep()}).items():
        for item in _sweep(study, label, sweep, archs, recipes, upstream):
            planned.setdefault(item.digest, item).sweeps.add(label)
    if not planned:
        raise BadInput(f"Study {study.name!r} has no trial: give it budgets, for example study.budgets=[4096].")
    parents = list(planned.values())
    for label, task in study.tasks.items():
        target = _dataset(task.data, datasets, f"study.tasks.{label}.data")
        for item in _transfers(label, task, upstream, target, parents):
            planned.setdefault(item.digest, item)
    return planned


def _sweep(study: Study, label: str, sweep: Sweep, archs: Mapping[str, Arch], recipes: list[Recipe], data: Dataset):
    where = f"study.sweeps.{label}" if study.sweeps else "study"
    for name in sweep.archs or archs:
        if name not in archs:
            raise BadInput(f"{where}.archs names {name!r}, which is no arch of this study: {nearest(name, archs)}")
        arch = archs[name]
        arch.check(data.image_size)
        for recipe in recipes:
            resolved = recipe.resolve(arch.kind, name)
            for size in sweep.sizes or study.sizes:
                samples = data.prefix(size, f"{where}.sizes")
                subsets = _subsets(study, sweep, where, data, samples)
                seeds = [_seed(where, seed) for seed in sweep.seeds or study.seeds]
                for budget in _budgets(study, sweep, where, arch, data, samples):
                    seen = resolved.steps(budget) * resolved.batch_size
                    for subset, seed in product(subsets, seeds):
                        trial = Pretrain(arch, resolved, subset, seen, seed)
                        yield Planned(trial, digest(trial), name)


def _subsets(study: Study, sweep: Sweep, where: str, data: Dataset, samples: int) -> list[Subset]:
    """One for each draw that the data holds. What changes nothing is left out, so that no subset has two names."""
    blocks = (study.shuffle_block, study.shuffle_window) if 0 < study.shuffle_block < samples else (0, 0)
    draws = []
    for replicate in sweep.replicates or study.replicates:
        if replicate < 0:
            raise BadInput(f"{where}.replicates must not be negative, not {replicate}.")
        draws.append(replicate if (replicate + 1) * samples <= data.samples else 0)
    return [Subset(data.id, samples, draw, *blocks) for draw in dict.fromkeys(draws)]


def _budgets(study: Study, sweep: Sweep, where: str, arch: Arch, data: Dataset, samples: int) -> list[int]:
    given = [n for n in ("budgets", "epochs", "flops", "samples_per_param") if getattr(sweep, n)]
    if len(given) > 1:
        raise BadInput(f"{where} gives its budgets twice ({' and '.join(given)}): keep one.")
    kind = given[0] if given else "budgets"
    values = getattr(sweep, kind) or study.budgets
    if not values:
        raise BadInput(f"{where} has no budget: give budgets, epochs, flops or samples_per_param.")
    unit = {
        "budgets": 1.0,
        "epochs": float(samples),
        "flops": 1.0 / (3 * arch.flops(data.image_size, data.channels, data.classes)),
        "samples_per_param": float(arch.params(data.image_size, data.channels, data.classes)),
    }[kind]
    for value in values:
        if not 0 < value * unit < LARGEST:
            raise BadInput(f"{where}.{kind} must be positive and mean less than {LARGEST:g} samples, not {value}.")
    return [max(1, round(value * unit)) for value in values]


def _seed(where: str, seed: int) -> int:
    if not 0 <= seed < 2**32:
        raise BadInput(f"{where}.seeds must lie between 0 and 2^32, not at {seed}.")
    return seed


def _transfers(label: str, task: Task, upstream: Dataset, target: Dataset, parents: list[Planned]):
    where = f"study.tasks.{label}"
    _check_task(where, task, target)
    known = dict.fromkeys(parent.arch for parent in parents)
    for name in task.archs:
        if name not in known:
            raise BadInput(f"{where}.archs names {name!r}, which is pre-trained nowhere here: {nearest(name, known)}")
    for parent in parents if task.parents is Parents.all else _largest(parents):
        if task.archs and parent.arch not in task.archs:
            continue
        arch = parent.pretrain.arch
        _check_resolution(arch, upstream, target, where)
        for protocol in task.protocols(arch.kind, target, where):
            for seed in map(partial(_seed, where), task.seeds):
                trial = Transfer(parent.pretrain, target.id, protocol, seed)
                yield Planned(trial, digest(trial), parent.arch, set(parent.sweeps), label)


def _check_task(where: str, task: Task, target: Dataset) -> None:
    if not task.seeds or not (task.shots or task.finetune_steps):
        raise BadInput(f"{where} has nothing to do: give it seeds, and shots or finetune_steps.")
    if target.prepared and not target.test_samples:
        raise BadInput(
            f"{where} needs test images, but {target.name} has none: give it a test folder, or set "
            f"data.{task.data}.test_share=0.2."
        )


def _check_resolution(arch: Arch, upstream: Dataset, target: Dataset, where: str) -> None:
    """Raises BadInput when the arch cannot go from images of one size to those of the other."""
    try:
        arch.check(target.image_size)
    except BadInput as error:
        raise BadInput(f"{where}, on {target.name}: {error}") from error
    if isinstance(arch, External) and target.image_size != upstream.image_size:
        counts = {arch.params(d.image_size, d.channels, upstream.classes) for d in (upstream, target)}
        if len(counts) > 1:
            raise BadInput(
                f"{where}: a module whose parameters depend on the image size cannot go from {upstream.image_size} px "
                f"({upstream.name}) to {target.image_size} px ({target.name}): set data.{target.name}.image_size."
            )


def _largest(parents: list[Planned]) -> list[Planned]:
    """Of each arch and recipe, the trials of the largest data size and, there, the largest budget."""
    best: dict[str, tuple[int, int]] = {}
    key = {p.digest: f"{p.arch}/{digest(p.pretrain.recipe)}" for p in parents}
    for p in parents:
        rank = (p.pretrain.subset.samples, p.pretrain.budget)
        best[key[p.digest]] = max(best.get(key[p.digest], (0, 0)), rank)
    return [p for p in parents if (p.pretrain.subset.samples, p.pretrain.budget) == best[key[p.digest]]]


def _dataset(name: str, datasets: Mapping[str, Dataset], where: str) -> Dataset:
    if not name:
        raise BadInput(
            f"{where} is not set: choose a study, for example study=quickstart, or name a data set and its use, for "
            "example data=fractal study.data=fractal arch=vit_nano study.budgets=[8192]."
        )
    if name not in datasets:
        raise BadInput(f"{where} names {name!r}, which is no data set here: {nearest(name, datasets)}")
    if datasets[name].classes == 1:
        raise BadInput(f"{where} names {name!r}, which has one class only: there is nothing to tell apart.")
    return datasets[name]
