"""Price: FLOPs to device-hours to money, before a FLOP is spent; and the caps that refuse to launch."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.arch import External
from pipeline.errors import BadInput, OverBudget
from pipeline.ledger import Result
from pipeline.plan import Plan, trial_flops
from pipeline.study import Planned, Study
from pipeline.subset import Dataset
from pipeline.trial import Pretrain


@dataclass
class Device:
    """One accelerator or CPU core, as priced. What is not known stays unknown: no field is ever guessed."""

    name: str = "cpu-core"
    peak_flops: float | None = None
    """Dense FLOP/s at the training precision, from the data sheet. Without it MFU is absent."""
    sustained_flops: float | None = None
    """FLOP/s that training reaches here, used until the Ledger holds a measurement."""
    price_per_hour: float | None = None
    currency: str = "USD"

    def __post_init__(self) -> None:
        for name in ("peak_flops", "sustained_flops"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise BadInput(f"device.{name} must be positive, not {value}.")
        if self.price_per_hour is not None and not 0 <= self.price_per_hour < math.inf:
            raise BadInput(f"device.price_per_hour must be a number and not negative, not {self.price_per_hour}.")


@dataclass
class Line:
    """The price of one family, or of the whole study."""

    family: str
    trials: int = 0
    known: int = 0
    segments: int = 0
    flops: int = 0
    """To be executed, with sharing."""
    flops_unshared: int = 0
    """The same trials, each by itself."""
    hours: float | None = 0.0
    """Device-hours; None when no throughput is known."""
    cost: float | None = 0.0
    basis: str = ""
    """Where the throughput comes from: measured, device table, or unknown."""

    @property
    def saved(self) -> float:
        """Share of the FLOPs that sharing saves."""
        return 1.0 - self.flops / self.flops_unshared if self.flops_unshared else 0.0


@dataclass
class Row:
    """The price of one pre-training by itself, whatever it shares; its seeds and recipes cost the same."""

    arch: str
    family: str
    samples: int
    """Data size: unique training images."""
    budget: int
    """Samples seen."""
    flops: int
    """3 x forward x samples seen."""
    flops_inside: int | None
    """The same without kernel taps that fall outside the image, as Table 6 of arXiv 2010.11929 counts; None for a
    module made elsewhere."""
    hours: float | None
    """Device-hours; None when no throughput is known."""
    trials: int = 0
    known: int = 0

    @property
    def epochs(self) -> float:
        return self.budget / self.samples


@dataclass
class Quote:
    lines: list[Line]
    total: Line
    device: Device
    rows: list[Row]

    def to_plain(self) -> dict[str, Any]:
        def plain(line: Line) -> dict[str, Any]:
            return {**asdict(line), "saved": round(line.saved, 6)}

        return {
            "families": [plain(line) for line in self.lines],
            "total": plain(self.total),
            "pretraining": [{**asdict(row), "epochs": round(row.epochs, 6)} for row in self.rows],
            "device": asdict(self.device),
        }


class Throughput:
    """Sustained training FLOP/s by arch, then by family, from pre-trainings on the same device; else the device table.

    Runs count by their FLOPs, so that a few large ones outweigh many that were over before they were warm.
    """

    def __init__(self, results: Iterable[Result], device: Device) -> None:
        self.device = device
        self.by_arch: dict[str, list[tuple[float, float]]] = {}
        """(FLOPs, seconds) of each run."""
        self.by_family: dict[str, list[tuple[float, float]]] = {}
        for result in results:
            flops, rate = result.facts.get("train_flops", 0), _training_rate(result)
            if result.kind == "pretrain" and result.cost.get("device") == device.name and flops > 0 and rate > 0:
                self.by_arch.setdefault(str(result.facts.get("arch")), []).append((flops, flops / rate))
                self.by_family.setdefault(str(result.facts.get("family")), []).append((flops, flops / rate))

    def of(self, planned: Planned) -> tuple[float | None, str]:
        """(FLOP/s or None, where the figure comes from)."""
        runs = self.by_arch.get(planned.arch) or self.by_family.get(planned.pretrain.arch.family)
        if runs:
            return sum(flops for flops, _ in runs) / sum(seconds for _, seconds in runs), "measured"
        if self.device.sustained_flops:
            return self.device.sustained_flops, "device table"
        return None, "unknown"


def _training_rate(result: Result) -> float:
    """FLOP/s of one device while it trained; with its evaluations where a Result does not tell them apart."""
    speed, devices = result.cost.get("samples_per_second") or 0, result.cost.get("devices") or 1
    if speed:
        return 3 * result.facts.get("forward_flops", 0) * speed / devices
    seconds = result.cost.get("device_seconds") or 0
    return result.facts.get("train_flops", 0) / seconds if seconds > 0 else 0.0


def quote(plan: Plan, throughput: Throughput) -> Quote:
    """Price a plan per family, in total, and each of its pre-trainings by itself."""
    device = throughput.device
    lines: dict[str, Line] = {}
    for digest, planned in plan.trials.items():
        line = lines.setdefault(planned.pretrain.arch.family, Line(planned.pretrain.arch.family))
        line.trials += 1
        if digest in plan.known:
            line.known += 1
        else:
            line.flops_unshared += trial_flops(planned, plan.datasets)
    for segment in plan.segments.values():
        line = lines[segment.planned.pretrain.arch.family]
        rate, basis = throughput.of(segment.planned)
        line.segments += 1
        line.flops += segment.flops
        line.basis = basis if line.basis in ("", basis) else "measured and device table"
        line.hours = _plus(line.hours, None if rate is None else segment.flops / rate / 3600)
    for line in lines.values():
        price = device.price_per_hour
        line.cost = None if line.hours is None or price is None else line.hours * price
    return Quote(list(lines.values()), _total(list(lines.values())), device, _rows(plan, throughput))


def refuse(study: Study, quote: Quote) -> None:
    """Raises OverBudget when a cap is exceeded, BadInput when a cap cannot be checked."""
    total, device = quote.total, quote.device
    checks = (
        ("max_flops", study.max_flops, float(total.flops), "FLOPs", "device.sustained_flops"),
        ("max_hours", study.max_hours, total.hours, "device-hours", "device.sustained_flops"),
        ("max_cost", study.max_cost, total.cost, device.currency, "device.price_per_hour"),
    )
    for name, cap, value, unit, missing in checks:
        if cap is None:
            continue
        if value is None:
            raise BadInput(f"study.{name} is set, but device {device.name!r} has no known figure: set {missing}.")
        if value > cap:
            raise OverBudget(
                f"Not launched: study {study.name!r} needs {value:.4g} {unit}, over study.{name}={cap:g}. "
                "Raise the cap or plan less."
            )


def _rows(plan: Plan, throughput: Throughput) -> list[Row]:
    """One for each (arch, data size, budget): archs as the study first names them within their family, then by cost."""
    by_id = {d.id: d for d in plan.datasets.values()}
    rows: dict[tuple[str, int, int], Row] = {}
    for digest, planned in plan.trials.items():
        trial = planned.trial
        if not isinstance(trial, Pretrain):
            continue
        key = (planned.arch, trial.subset.samples, trial.budget)
        if key not in rows:
            rows[key] = _row(planned, trial, by_id[trial.subset.dataset], throughput)
        rows[key].trials += 1
        rows[key].known += digest in plan.known
    families = list(dict.fromkeys(row.family for row in rows.values()))
    archs = list(dict.fromkeys(row.arch for row in rows.values()))
    return sorted(
        rows.values(), key=lambda row: (families.index(row.family), archs.index(row.arch), row.samples, row.budget)
    )


def _row(planned: Planned, trial: Pretrain, data: Dataset, throughput: Throughput) -> Row:
    shape = (data.image_size, data.channels, data.classes)
    flops = 3 * trial.arch.flops(*shape) * trial.budget
    inside = None if isinstance(trial.arch, External) else 3 * trial.arch.flops(*shape, padding=False) * trial.budget
    rate, _ = throughput.of(planned)
    hours = None if rate is None else flops / rate / 3600
    return Row(planned.arch, trial.arch.family, trial.subset.samples, trial.budget, flops, inside, hours)


def _total(lines: list[Line]) -> Line:
    total = Line("total", basis=", ".join(sorted({line.basis for line in lines if line.basis})))
    for line in lines:
        total.trials += line.trials
        total.known += line.known
        total.segments += line.segments
        total.flops += line.flops
        total.flops_unshared += line.flops_unshared
        total.hours = _plus(total.hours, line.hours)
        total.cost = _plus(total.cost, line.cost)
    return total


def _plus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a + b
