"""Homes: the data sets of a command, found, or made first."""

from functools import partial
from pathlib import Path

from rich.console import Console

from data_prep.executor import Executor
from data_prep.localise import Localise
from data_prep.prepare import Prepared, find, prepare
from data_prep.sources import Source
from pipeline.data.localised import localised
from pipeline.errors import BadInput, nearest
from pipeline.job import Home
from pipeline.placement import Placement
from pipeline.progress import ProgressLine
from pipeline.schema import Config


def open_homes(config: Config, console: Console, map: Executor | None = None) -> dict[str, Home]:
    """Every data set of the config, by preset name. With an executor, what is missing is prepared; without one, the
    declared facts stand for it if they suffice. Raises BadInput.
    """
    root = Path(config.placement.data).absolute()
    homes: dict[str, Home] = {}
    made: dict[str, Prepared] = {}
    for name in in_order(config.data):
        source = config.data[name]
        against = {other: made[other] for other in source.distinct_from if other in made}
        known = len(against) == len(source.distinct_from)
        found = find(source, name, root, against) if known else None
        if found is None and map is not None:
            console.print(f"Preparing {name} ...", markup=False)
            with ProgressLine(console, name) as progress:
                found = prepare(source, name, root, map, progress, against, localise_on(config.placement))
        if found is not None:
            made[name] = found
        homes[name] = Home(found[0], str(found[1]), source.on_bad_sample) if found else _declared(source, name)
    return {name: homes[name] for name in config.data}


def localise_on(placement: Placement) -> Localise:
    """Shards from elsewhere, for a task, on the disk of its node."""
    folder = Path(placement.cache_folder).absolute() / "passing"
    return partial(localised, folder, placement.fetch_seconds)


def _declared(source: Source, name: str) -> Home:
    facts = source.facts(name)
    if facts is None:
        raise BadInput(
            f"Data set {name!r} is not prepared, so its size is unknown: run `crossover prepare` with the same "
            "overrides first."
        )
    return Home(facts, "")


def in_order(sources: dict[str, Source]) -> list[str]:
    """Names, each after those it must be distinct from. Raises BadInput for a circle or an unknown name."""
    ordered: list[str] = []
    for name in sources:
        _place(name, sources, ordered, ())
    return ordered


def _place(name: str, sources: dict[str, Source], ordered: list[str], above: tuple[str, ...]) -> None:
    if name in above:
        circle = " -> ".join([*above[above.index(name) :], name])
        raise BadInput(f"Data sets cannot be distinct from each other in a circle ({circle}): break distinct_from.")
    if name in ordered:
        return
    for other in sources[name].distinct_from:
        if other not in sources:
            raise BadInput(
                f"data.{name}.distinct_from names {other!r}, which is no data set of this command: "
                f"{nearest(other, set(sources) - {name})}"
            )
        _place(other, sources, ordered, (*above, name))
    ordered.append(name)
