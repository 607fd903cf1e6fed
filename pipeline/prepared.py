"""Prepared: a command's config opened against the world: data found or made, study expanded, planned and priced."""

import datetime
from argparse import Namespace
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from pipeline.arch import Arch, External
from pipeline.config import Loaded, load
from pipeline.homes import open_homes
from pipeline.job import Home, Job
from pipeline.ledger import Ledger
from pipeline.manifest import StudyManifest, describe
from pipeline.plan import Plan, Segment, build_plan
from pipeline.pool import Pool
from pipeline.price import Quote, Throughput, quote
from pipeline.record import stored_steps
from pipeline.schema import Config
from pipeline.store import Store
from pipeline.study import Planned, expand
from pipeline.subset import Dataset

console = Console(highlight=False, soft_wrap=True)


@dataclass
class Prepared:
    """A study, expanded and priced against what its store holds."""

    loaded: Loaded
    homes: dict[str, Home]
    store: Store
    plan: Plan
    quote: Quote

    @property
    def config(self) -> Config:
        return self.loaded.config


def load_config(arguments: Namespace) -> Loaded:
    return load(arguments.words, arguments.conf)


def printed(arguments: Namespace, loaded: Loaded) -> bool:
    if arguments.cfg:
        print(loaded.yaml, end="")
    return arguments.cfg


def open_store(config: Config) -> Store:
    """Raises BadInput when nothing answers there."""
    store = Store(config.placement.store)
    store.check_readable()
    return store


def plan_study(loaded: Loaded, prepare_missing: bool) -> Prepared:
    config = loaded.config
    _check_batches(loaded)
    store = open_store(config)
    if prepare_missing:
        store.check_writable()
    with Pool(config.placement) as pool:
        homes = open_homes(config, console, pool.map if prepare_missing else None)
    datasets: dict[str, Dataset] = {name: home.dataset for name, home in homes.items()}
    _install_counter(config.archs.values())
    return priced(loaded, homes, store, expand(config.study, config.archs, loaded.recipes, datasets))


def priced(loaded: Loaded, homes: dict[str, Home], store: Store, trials: dict[str, Planned]) -> Prepared:
    """These trials, planned and priced against what the store holds now."""
    datasets: dict[str, Dataset] = {name: home.dataset for name, home in homes.items()}
    results = Ledger(store).results(failures=False)
    built = build_plan(trials, datasets, {r.digest for r in results}, lambda digest: stored_steps(store, digest))
    return Prepared(loaded, homes, store, built, quote(built, Throughput(results, loaded.config.device)))


def _check_batches(loaded: Loaded) -> None:
    """Raises BadInput when the placement cannot cut a batch evenly: known before data are made or anything runs."""
    placement = loaded.config.placement
    for recipe in loaded.recipes:
        placement.check(recipe.batch_size, "recipe.batch_size", pairs=recipe.mixes_pairs)
    for name, task in loaded.config.study.tasks.items():
        if task.finetune_steps:
            placement.check(task.finetune_batch_size, f"study.tasks.{name}.finetune_batch_size")


def _install_counter(archs: Iterable[Arch]) -> None:
    """Modules made elsewhere have no closed form: to price them is to build them, with torch."""
    if any(isinstance(arch, External) for arch in archs):
        import pipeline.models.external  # noqa: F401


def job_maker(prepared: Prepared, alone: bool = False) -> Callable[[Segment], Job]:
    """``alone``: for this process, which is one worker whatever the placement says."""
    config = prepared.config
    own = config.placement
    # Workers may have another working folder.
    placement = replace(
        own,
        cache=str(Path(own.cache_folder).absolute()),
        workers_per_trial=1 if alone else own.workers_per_trial,
    )
    homes = {home.dataset.id: home for home in prepared.homes.values()}

    def make_job(segment: Segment) -> Job:
        return Job(segment, homes, prepared.store, placement, config.study.name, config.device.name)

    return make_job


def manifest_of(prepared: Prepared) -> StudyManifest:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    planned: list[Planned] = list(prepared.plan.trials.values())
    manifest = describe(prepared.config.study, prepared.loaded.yaml, planned, now)
    whole = build_plan(prepared.plan.trials, prepared.plan.datasets)
    manifest.flops, manifest.flops_unshared = whole.flops, whole.flops_unshared
    return manifest


def conclude(store: Store, manifest: StudyManifest) -> None:
    from pipeline.conclude import fit_laws, write_report

    analysis = fit_laws(store, manifest)
    where = write_report(store, manifest, analysis)
    console.print(analysis.headline, markup=False)
    console.print(f"Report: {where}", markup=False, soft_wrap=True)
