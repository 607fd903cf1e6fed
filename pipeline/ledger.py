"""Ledger: the set of Results, the only memory of what ran. One JSON object per Trial, created exactly once."""

import json
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from pipeline.errors import BadInput
from pipeline.store import Store

FORMAT = 1
FLOPS_CONVENTION = "2 per multiply-add; training = 3 x forward x samples seen; padding included; own budget, not shared"


class Outcome(Enum):
    """``diverged`` is a result and is kept. ``failed`` is not: the same command tries it again."""

    done = "done"
    diverged = "diverged"
    failed = "failed"


@dataclass
class Result:
    """What is known of one Trial."""

    digest: str
    kind: str
    """pretrain or transfer."""
    trial: dict[str, Any]
    """Canonical form of the Trial: everything its digest covers."""
    outcome: Outcome
    metrics: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """What follows from the trial: family, params, FLOPs, samples, epochs, data set name."""
    cost: dict[str, Any] = field(default_factory=dict)
    """device_seconds (own segments and the shared trunk), device, threads, precision, host."""
    provenance: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    log: str = ""
    format: int = FORMAT

    def to_json(self) -> bytes:
        return json.dumps(
            {**asdict(self), "outcome": self.outcome.value}, sort_keys=True, allow_nan=False, indent=1
        ).encode()

    def science(self) -> dict[str, Any]:
        """The part that a repeated run must reproduce bit for bit."""
        return {
            "digest": self.digest,
            "trial": self.trial,
            "outcome": self.outcome.value,
            "metrics": self.metrics,
            "facts": self.facts,
        }

    def row(self) -> dict[str, Any]:
        """Flat form for tables, export and laws."""
        return {
            "digest": self.digest,
            "kind": self.kind,
            **self.facts,
            **self.metrics,
            "flops_convention": FLOPS_CONVENTION,
            "device_seconds": self.cost.get("device_seconds"),
            "device": self.cost.get("device"),
            "outcome": self.outcome.value,
            "reason": self.reason,
            "log": self.log,
            **self.provenance,
        }


class Ledger:
    """Results in ``ledger/``, failures in ``failures/`` (kept until the trial succeeds)."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def publish(self, result: Result) -> bool:
        """Record a finished Trial exactly once. False when it was already recorded."""
        if result.outcome is Outcome.failed:
            self.store.put(f"failures/{result.digest}.json", result.to_json())
            return True
        created = self.store.create(f"ledger/{result.digest}.json", result.to_json())
        self.store.delete(f"failures/{result.digest}.json")
        return created

    def get(self, digest: str) -> Result | None:
        return self._read(f"ledger/{digest}.json")

    def failure(self, digest: str) -> Result | None:
        return self._read(f"failures/{digest}.json")

    def known(self) -> set[str]:
        """Digests with a Result, without reading the Results."""
        return {key.split("/")[-1].removesuffix(".json") for key in self.store.keys("ledger")}

    def results(self, digests: set[str] | None = None, failures: bool = True) -> list[Result]:
        """Results, and failures of trials that have none, ordered by digest."""
        found: dict[str, Result] = {}
        for folder in ("failures", "ledger") if failures else ("ledger",):
            for key in self.store.keys(folder):
                name = key.split("/")[-1].removesuffix(".json")
                if (digests is None or name in digests) and (result := self._read(key)):
                    found[name] = result
        return [found[name] for name in sorted(found)]

    def find(self, prefix: str) -> str:
        """The one digest that starts with ``prefix``. Raises BadInput when none or several do."""
        known = self.known() | {k.split("/")[-1].removesuffix(".json") for k in self.store.keys("failures")}
        matches = sorted(d for d in known if d.startswith(prefix.lower()))
        if len(matches) == 1:
            return matches[0]
        where = self.store.describe("ledger")
        if not matches:
            raise BadInput(f"No trial in {where} starts with {prefix!r}: `crossover status` lists those there are.")
        listed = ", ".join(d[:12] for d in matches[:5])
        raise BadInput(f"{len(matches)} trials in {where} start with {prefix!r} ({listed}): give more digits.")

    def _read(self, key: str) -> Result | None:
        data = self.store.get(key)
        return None if data is None else parse_result(data, self.store.describe(key))


def parse_result(data: bytes, where: str) -> Result:
    """Raises BadInput for a record that is damaged or of a newer format."""
    try:
        plain = json.loads(data)
        written = int(plain["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(f"The Result {where} is damaged: delete it, and its trial will run again.") from error
    if written > FORMAT:
        raise BadInput(
            f"The Result {where} was written by a newer Crossover (format {written}, this one reads {FORMAT}): "
            "upgrade Crossover or use another placement.store."
        )
    try:
        return Result(**{**plain, "outcome": Outcome(plain["outcome"])})
    except (TypeError, ValueError, KeyError) as error:
        raise BadInput(f"The Result {where} is damaged: delete it, and its trial will run again.") from error
