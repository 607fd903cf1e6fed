"""`crossover prepare --bench`: images a second per core, and how many cores keep one device busy."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.arch import Arch
from pipeline.data.rate import Rate, rates
from pipeline.data.reader import Reading
from pipeline.job import Home
from pipeline.price import Device
from pipeline.schema import Config
from pipeline.subset import Dataset
from pipeline.terminal import plain_table

SECONDS = 2.0
"""Of each measurement."""


def bench(console: Console, config: Config, homes: dict[str, Home]) -> None:
    """Measure every data set of the config, for the batches, crops and threads it asks for. Raises BadInput."""
    placement, recipe = config.placement, config.recipe
    for name, home in homes.items():
        reading = Reading.of(placement, home.on_bad_sample)
        threads = placement.threads_ahead
        measured = list(rates(Path(home.folder), reading, recipe.crop_area, recipe.batch_size, threads, SECONDS))
        console.print(_speeds(name, measured, recipe.batch_size, threads))
        best = next((r for r in measured if r.cached), next(r for r in measured if r.backend is placement.decoder))
        console.print(_cores(home.dataset, config.archs, config.device, best))


def _speeds(name: str, measured: list[Rate], batch_size: int, threads: int) -> Table:
    caption = f"uint8 batches of {batch_size}, {threads} thread{'s' * (threads > 1)}; training crops as configured."
    table = plain_table(f"Reading {name}", caption)
    for column in ("decoder", "images/s per core", "images/s", "first batch"):
        table.add_column(column, justify="left" if column == "decoder" else "right")
    for rate in measured:
        source = "decoded cache" if rate.cached else rate.backend.value
        table.add_row(source, f"{rate.per_core:,.0f}", f"{rate.wall:,.0f}", f"{rate.first * 1000:.0f} ms")
    return table


def _cores(data: Dataset, archs: dict[str, Arch], device: Device, rate: Rate) -> Table | str:
    """What a device trains a second, by its sustained FLOP/s, and the cores that read as much."""
    if not archs:
        return "Add arch=... and device=... to see how many cores keep one device busy.\n"
    if device.sustained_flops is None:
        return f"How fast {device.name!r} trains is not known: set device.sustained_flops to see the cores it needs.\n"
    source = "the decoded cache" if rate.cached else rate.backend.value
    caption = f"By device.sustained_flops={device.sustained_flops:g}, reading with {source}."
    table = plain_table(f"Cores for one {device.name}", caption)
    for column in ("arch", "trained images/s", "cores"):
        table.add_column(column, justify="left" if column == "arch" else "right")
    for name, arch in archs.items():
        arch.check(data.image_size)
        trained = device.sustained_flops / (3 * arch.flops(data.image_size, data.channels, data.classes))
        table.add_row(name, f"{trained:,.0f}", f"{trained / rate.per_core:.2g}")
    return table
