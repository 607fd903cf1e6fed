"""From a finished Segment to the Result of its Trial: facts that follow from the trial, metrics, cost, provenance."""

import datetime
from typing import Any

from pipeline import __version__
from pipeline.ledger import Outcome, Result
from pipeline.plan import forward_flops
from pipeline.record import Record
from pipeline.study import Planned
from pipeline.subset import Dataset
from pipeline.trial import FewShot, FineTune, Pretrain, canonical, digest


def make_result(
    planned: Planned,
    datasets: dict[str, Dataset],
    outcome: Outcome,
    record: Record | None = None,
    reason: str = "",
    log: str = "",
    study: str = "",
    device: str = "",
) -> Result:
    """``datasets`` by dataset id. Without a record (a trunk that diverged, a failure) cost is unknown."""
    return Result(
        digest=planned.digest,
        kind="pretrain" if isinstance(planned.trial, Pretrain) else "transfer",
        trial=canonical(planned.trial),
        outcome=outcome,
        metrics=dict(record.metrics) if record else {},
        facts={**_facts(planned, datasets), "train_flops": _train_flops(planned, datasets)},
        cost={
            "device": device,
            **(_cost(record) if record else {}),
        },
        provenance={
            "study": study,
            "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "crossover_version": __version__,
            **({"torch_version": record.host.get("torch")} if record else {}),
            **(
                {name: record.data[name] for name in ("decoder", "bad_samples") if name in record.data}
                if record
                else {}
            ),
        },
        reason=reason,
        log=log,
    )


def _cost(record: Record) -> dict[str, Any]:
    return {
        "device_seconds": record.seconds_total,
        "samples_per_second": record.samples_per_second,
        **{name: record.data[name] for name in ("data_wait",) if name in record.data},
        **record.host,
    }


def _facts(planned: Planned, datasets: dict[str, Dataset]) -> dict[str, Any]:
    trial, root = planned.trial, planned.pretrain
    upstream = datasets[root.subset.dataset]
    facts: dict[str, Any] = {
        "family": root.arch.family,
        "arch": planned.arch,
        "params": root.arch.params(upstream.image_size, upstream.channels, upstream.classes),
        "forward_flops": forward_flops(planned, upstream),
        "dataset": upstream.name,
        "samples": root.subset.samples,
        "replicate": root.subset.replicate,
        "budget": root.budget,
        "epochs": root.budget / root.subset.samples,
        "seed": root.seed,
        "lr": root.recipe.lr,
        "schedule": root.recipe.schedule.name,
    }
    facts |= _input(planned, datasets)
    if isinstance(trial, Pretrain):
        return facts
    facts |= {
        "parent": digest(trial.parent),
        "task": planned.task,
        "task_dataset": datasets[trial.dataset].name,
        "protocol": trial.protocol.protocol,
        "transfer_seed": trial.seed,
    }
    if isinstance(trial.protocol, FewShot):
        facts["shots"] = trial.protocol.shots
    if isinstance(trial.protocol, FineTune):
        facts["finetune_steps"] = trial.protocol.steps
        facts["finetune_lr"] = trial.protocol.lr
    return facts


def _input(planned: Planned, datasets: dict[str, Dataset]) -> dict[str, int]:
    """What the model takes, and how many classes its head tells apart."""
    trial = planned.trial
    own = datasets[trial.subset.dataset if isinstance(trial, Pretrain) else trial.dataset]
    return {"image_size": own.image_size, "channels": own.channels, "classes": own.classes}


def _train_flops(planned: Planned, datasets: dict[str, Dataset]) -> int:
    """Upstream training FLOPs; of a transfer, those of its parent, which is what Figure 5 plots against."""
    root = planned.pretrain
    return 3 * forward_flops(planned, datasets[root.subset.dataset]) * root.budget
