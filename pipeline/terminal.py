"""Terminal: what a person sees. Rich where there is a terminal, plain lines where there is none."""

import json
import time
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipeline.cluster import Event
from pipeline.plan import Plan
from pipeline.price import Quote, Row
from pipeline.store import Store

PLAIN_SECONDS = 10.0
"""Between two progress lines when nobody looks at a terminal."""
PREFIXES = {"Z": 1e21, "E": 1e18, "P": 1e15, "T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3}
WORDS = {1e18: "exa", 1e15: "peta", 1e12: "tera", 1e9: "giga", 1e6: "mega", 1.0: ""}
DATA_WAIT = 0.05
"""Share of a training's time spent waiting for data that is worth a warning."""
FEW_ROWS = 24
"""Pre-trainings that a plan lists without being asked."""


def amount(value: float | None, unit: str = "") -> str:
    """1.23 M style; a dash for what is unknown."""
    if value is None:
        return "-"
    for prefix, factor in PREFIXES.items():
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}".rstrip()


def hours(value: float | None) -> str:
    if value is None:
        return "unknown"
    if value < 1 / 60:
        return f"{value * 3600:.0f} s"
    if value < 1:
        return f"{value * 60:.1f} min"
    return f"{value:,.{0 if value >= 1000 else 1}f} h" if value < 1e4 else amount(value, "h")


def money(value: float | None) -> str:
    if value is None or value >= 1e4:
        return amount(value)
    return f"{value:,.{0 if value >= 1000 else 2}f}"


def quote_table(quote: Quote, title: str) -> Table:
    """Prices per family; fits 80 columns."""
    basis = quote.total.basis or "nothing left to do"
    table = plain_table(
        title, f"Throughput: {basis}.\nTraining = 3 x forward x samples seen, 2 FLOPs per multiply-add."
    )
    currency = quote.device.currency
    for name in ("family", "trials", "known", "segments", "FLOPs", "alone", "saved", "time", currency):
        table.add_column(name, justify="left" if name == "family" else "right", no_wrap=True)
    for line in [*quote.lines, quote.total]:
        table.add_row(
            line.family,
            str(line.trials),
            str(line.known),
            str(line.segments),
            amount(line.flops, ""),
            amount(line.flops_unshared, ""),
            f"{line.saved:.0%}",
            hours(line.hours),
            money(line.cost),
            style="bold" if line is quote.total else "",
            end_section=bool(quote.lines) and line is quote.lines[-1],
        )
    return table


def rows_table(rows: list[Row]) -> Table:
    """Each pre-training by itself, FLOPs in one unit; fits 80 columns."""
    factor = next(f for f in WORDS if f <= max(1.0, min(row.flops for row in rows)))
    table = plain_table(
        "Each pre-training by itself",
        "inside: kernel taps outside the image left out, as arXiv 2010.11929 counts.",
    )
    for name in ("arch", "images", "epochs", f"{WORDS[factor]}FLOPs", "inside", "time", "known"):
        first = name == "arch"
        table.add_column(name, justify="left" if first else "right", no_wrap=not first, overflow="fold")
    for row in rows:
        table.add_row(
            row.arch,
            amount(row.samples),
            f"{row.epochs:.4g}",
            f"{row.flops / factor:,.1f}",
            "-" if row.flops_inside is None else f"{row.flops_inside / factor:,.1f}",
            hours(row.hours),
            f"{row.known}/{row.trials}",
        )
    return table


def plain_table(title: str, caption: str) -> Table:
    """Without lines around it; for figures."""
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1),
        caption=caption,
        caption_justify="left",
    )


def running(store: Store, study: str = "") -> list[dict[str, Any]]:
    """Progress records of segments whose heart beats, by arch; of one study or of all."""
    found = []
    for key in store.keys("progress"):
        data = store.get(key)
        try:
            note = json.loads(data) if data else None
        except ValueError:
            note = None  # being replaced by a newer one
        if note and study in ("", note["study"]) and time.time() - float(note.get("heartbeat", 0)) < 60:
            found.append(note)
    return sorted(found, key=lambda n: (n["arch"], n["key"]))


def running_table(notes: list[dict[str, Any]]) -> Table:
    table = Table(box=None, header_style="dim")
    for name in ("running", "work", "step", "loss", "images/s", "data wait"):
        table.add_column(name, justify="left" if name in ("running", "work") else "right")
    for note in notes:
        loss = note.get("loss")
        table.add_row(
            f"{note['arch']} {note['trial'][:8]}",
            note["work"],
            f"{note.get('step', note['first_step'])}/{note['last_step']}",
            "-" if loss is None else f"{loss:.3f}",
            amount(note.get("samples_per_second")),
            share(note.get("data_wait")),
        )
    return table


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def starved(arch: str, data_wait: float) -> str:
    """The warning about a training that waits for its data, or nothing."""
    if data_wait <= DATA_WAIT:
        return ""
    return (
        f"{arch} spent {data_wait:.0%} of its training waiting for data: give placement.loader_threads or cache_gib "
        "more, or a faster placement.decoder (`crossover prepare --bench` measures them)."
    )


class StudyView:
    """Progress of a whole study and of each running segment."""

    def __init__(self, console: Console, plan: Plan, store: Store, study: str) -> None:
        self.console, self.plan, self.store, self.study = console, plan, store, study
        self.progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("segments"),
            TextColumn("{task.fields[share]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self.bar = self.progress.add_task("study", total=len(plan.segments), share="")
        self.flops = max(1, plan.flops)
        self.flops_done = 0
        self.live = Live(console=console, refresh_per_second=4, transient=True)
        self.spoke = time.monotonic()
        self.warned: set[str] = set()

    def __enter__(self) -> "StudyView":
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.console.is_terminal:
            self.live.stop()

    def event(self, event: Event) -> None:
        segment = event.segment
        if event.kind == "done":
            self.flops_done += segment.flops
            self.progress.update(self.bar, advance=1, share=f"{self.flops_done / self.flops:.0%} of FLOPs")
            self._warn(segment.planned.arch, event.data_wait)
        if event.kind in ("failed", "diverged"):
            where = f" Log: {event.log}" if event.log else ""
            self.console.print(
                f"{event.kind}: {segment.planned.arch} {segment.work.name} {segment.planned.digest[:12]}: "
                f"{event.reason}.{where}",
                style="red" if event.kind == "failed" else "yellow",
                markup=False,
                highlight=False,
            )

    def _warn(self, arch: str, data_wait: float) -> None:
        """Once for each arch."""
        warning = starved(arch, data_wait)
        if warning and arch not in self.warned:
            self.warned.add(arch)
            self.console.print(warning, style="yellow", markup=False, highlight=False)

    def tick(self) -> None:
        if self.console.is_terminal:
            self.live.update(Group(self.progress, running_table(running(self.store, self.study))))
        elif time.monotonic() - self.spoke >= PLAIN_SECONDS:
            self.spoke = time.monotonic()
            task = self.progress.tasks[0]
            now = ", ".join(
                f"{n['arch']} {n['work']} {n.get('step', n['first_step'])}/{n['last_step']}"
                for n in running(self.store, self.study)
            )
            self.console.print(
                f"{task.completed:.0f}/{task.total:.0f} segments, {self.flops_done / self.flops:.0%} of FLOPs; "
                f"running: {now or 'starting'}",
                markup=False,
                highlight=False,
            )
