"""StudyManifest: which Trials a study has and what people call them, kept in the store beside the Ledger.

``status``, ``fit``, ``report`` and ``export`` read it, from any machine, while the study runs or years later.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.errors import BadInput, nearest
from pipeline.ledger import Ledger, Outcome
from pipeline.recipe import Recipe
from pipeline.store import Store
from pipeline.study import Planned, Study
from pipeline.trial import canonical, flatten

FORMAT = 1


@dataclass
class StudyManifest:
    name: str
    question: str
    metric: str
    data: str
    created: str
    config: str
    """Composed YAML."""
    trials: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By digest: arch, family, sweeps, task."""
    flops: int = 0
    """Of all its trials with sharing, as first planned."""
    flops_unshared: int = 0
    format: int = FORMAT

    def save(self, store: Store) -> None:
        store.put(f"studies/{self.name}/study.json", json.dumps(asdict(self), sort_keys=True).encode())

    def rows(self, ledger: Ledger) -> list[dict[str, Any]]:
        """Flat rows of the recorded trials of this study, in its own names, ordered by digest.

        ``setting`` names the recipe of a trial where an arch was trained by several.
        """
        rows = []
        results = ledger.results(set(self.trials))
        settings = _settings({r.digest: (self.trials[r.digest]["arch"], r.trial) for r in results})
        for result in results:
            named = self.trials[result.digest]
            rows.append(
                {
                    **result.row(),
                    "study": self.name,
                    "dataset": self.data,
                    "arch": named["arch"],
                    "family": named.get("family", result.facts.get("family")),
                    "sweeps": "+".join(named["sweeps"]),
                    "setting": settings[result.digest],
                }
            )
        return rows

    def counts(self, ledger: Ledger) -> dict[str, int]:
        """Trials by outcome, and ``left``."""
        counts = {outcome.value: 0 for outcome in Outcome}
        for result in ledger.results(set(self.trials)):
            counts[result.outcome.value] += 1
        return {**counts, "left": len(self.trials) - sum(counts.values())}


def _settings(trials: dict[str, tuple[str, dict[str, Any]]]) -> dict[str, str]:
    """Of (arch, canonical trial), the recipe fields in which the trials of that arch differ."""
    recipes: dict[str, dict[str, dict[str, Any]]] = {}
    for digest, (arch, trial) in trials.items():
        recipes.setdefault(arch, {})[digest] = dict(flatten(trial.get("parent", trial)["recipe"]))
    told: dict[str, str] = {}
    for of_arch in recipes.values():
        names = sorted({name for recipe in of_arch.values() for name in recipe} - {"is"})
        filled = {d: {n: recipe.get(n, _default(n)) for n in names} for d, recipe in of_arch.items()}
        differing = [n for n in names if len({str(recipe[n]) for recipe in filled.values()}) > 1]
        told |= {d: " ".join(f"{n}={recipe[n]}" for n in differing) for d, recipe in filled.items()}
    return told


def _default(name: str) -> Any:
    """Of a recipe field that a canonical form leaves out; None of one that this version does not know."""
    return next(value for _, value in flatten(canonical(getattr(Recipe(), name, None))))


def describe(study: Study, config: str, planned: Iterable[Planned], created: str) -> StudyManifest:
    named = {
        p.digest: {"arch": p.arch, "family": p.pretrain.arch.family, "sweeps": sorted(p.sweeps), "task": p.task}
        for p in planned
    }
    return StudyManifest(study.name, study.question, study.metric.value, study.data, created, config, named)


def read_manifest(store: Store, name: str) -> StudyManifest:
    """Raises BadInput when the study is not there, damaged, or of a newer format."""
    key = f"studies/{name}/study.json"
    data = store.get(key)
    if data is None:
        others = study_names(store)
        hint = (
            f": {nearest(name, others)}" if others else ", nor any other: `crossover run study=quickstart` makes one."
        )
        raise BadInput(f"There is no study {name!r} in {store.describe('studies')}{hint}")
    try:
        plain = json.loads(data)
        if int(plain["format"]) > FORMAT:
            raise BadInput(f"{store.describe(key)} was written by a newer Crossover: upgrade to read it.")
        return StudyManifest(**plain)
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{store.describe(key)} is damaged: run the study again and it is rewritten.") from error


def study_names(store: Store) -> list[str]:
    return sorted(k.split("/")[1] for k in store.keys("studies") if k.endswith("/study.json"))
