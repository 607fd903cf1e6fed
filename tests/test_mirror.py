"""One W&B run per Trial with its whole curve, although trunks are shared; read back from the files themselves."""

import json
from pathlib import Path

from small import job_of, plan_of

from pipeline.fragment import find_fragments, read_records
from pipeline.job import Home
from pipeline.mirror import Mirror
from pipeline.record import chain
from pipeline.store import Store
from pipeline.study import Study
from pipeline.task import Task
from pipeline.track import Track
from pipeline.training.segment import run_segment
from pipeline.trial import Transfer


def history(store: Store, run_id: str) -> list[dict]:
    """All rows of all fragments of a run, in the order they were written."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

    assert store.local is not None
    rows = []
    for path in find_fragments(store.local, run_id):
        for data in read_records(path):
            record = Record()
            record.ParseFromString(data)
            if record.WhichOneof("record_type") == "history":
                items = record.history.item
                rows.append({(i.key or "/".join(i.nested_key)): json.loads(i.value_json) for i in items})
    return rows


def test_every_run_has_its_whole_curve_once(tmp_path: Path, fractal: Home, digits: Home) -> None:
    store, homes = Store(str(tmp_path)), {"fractal": fractal, "digits": digits}
    study = Study(data="fractal", budgets=[160, 320, 640], tasks={"d": Task(data="digits", shots=[2])})
    plan = plan_of(study, homes, ["vit"])
    mirror = Mirror(Track())
    for key in plan.order:
        assert run_segment(job_of(plan.segments[key], homes, store), mirror.open).outcome == "done"
    pretrained = {d: p for d, p in plan.trials.items() if not isinstance(p.trial, Transfer)}
    assert len(pretrained) == 3
    for digest, planned in pretrained.items():
        seen = [r["samples_seen"] for r in history(store, digest) if "train/loss" in r]
        end = next(k for k, s in plan.segments.items() if s.final and s.planned.digest == digest)
        curve = [p["samples_seen"] for r in list(chain(store, end))[::-1] for p in r.curve]
        assert seen == sorted(seen), "never backwards"
        assert sorted(set(seen)) == curve, "the whole curve, trunk and decay"
        assert max(seen) == planned.pretrain.budget
        assert any("val/error" in row for row in history(store, digest))


def test_transfers_have_runs_of_their_own(tmp_path: Path, fractal: Home, digits: Home) -> None:
    store, homes = Store(str(tmp_path)), {"fractal": fractal, "digits": digits}
    study = Study(data="fractal", budgets=[160], tasks={"d": Task(data="digits", finetune_steps=4)})
    plan = plan_of(study, homes, ["resnet"])
    for key in plan.order:
        run_segment(job_of(plan.segments[key], homes, store), Mirror(Track()).open)
    (transfer,) = (d for d, p in plan.trials.items() if isinstance(p.trial, Transfer))
    assert store.local is not None
    assert find_fragments(store.local, transfer)
