"""A small world for tests: archs of a few thousand parameters and the jobs that train them."""

from pipeline.arch import Arch, Hybrid, ResNet, Root, ViT
from pipeline.job import Home, Job
from pipeline.placement import Placement
from pipeline.plan import Plan, Segment, build_plan
from pipeline.recipe import Recipe, Schedule
from pipeline.store import Store
from pipeline.study import Study, expand

ARCHS: dict[str, Arch] = {
    "vit": ViT(patch=8, depth=2, width=16, heads=2),
    "resnet": ResNet([1, 1], 2, Root.half, 2),
    "hybrid": Hybrid([1, 1], 2, Root.half, 2, depth=1, width=16, heads=2),
}


def recipe(schedule: Schedule = Schedule.wsd, **values) -> Recipe:
    small = {"batch_size": 16, "warmup": 64, "crop_padding": 2, "lr": 3e-3, "timescale": 640}
    return Recipe(**{**small, "schedule": schedule, **values})


def plan_of(study: Study, homes: dict[str, Home], archs: list[str], store: Store | None = None, **values) -> Plan:
    """The plan of a study on these homes; with a store, against what it holds."""
    from pipeline.ledger import Ledger
    from pipeline.record import stored_steps

    datasets = {name: home.dataset for name, home in homes.items()}
    trials = expand(study, {name: ARCHS[name] for name in archs}, [recipe(**values)], datasets)
    if store is None:
        return build_plan(trials, datasets)
    return build_plan(trials, datasets, Ledger(store).known(), lambda digest: stored_steps(store, digest))


def job_of(segment: Segment, homes: dict[str, Home], store: Store, **placement) -> Job:
    settings = Placement(**{"store": store.url, "log_every": 2, "heartbeat_seconds": 0.1, **placement})
    return Job(segment, {h.dataset.id: h for h in homes.values()}, store, settings, "small", "test-core")


def run_all(plan: Plan, homes: dict[str, Home], store: Store, **placement) -> None:
    from pipeline.training.segment import run_segment

    for key in plan.order:
        report = run_segment(job_of(plan.segments[key], homes, store, **placement))
        assert report.outcome in ("done", "diverged"), report
