"""Fitting: ``crossover fit FILE``, the laws of any table, from the command line. The work is ``laws.tabular``."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pipeline.errors import BadInput

if TYPE_CHECKING:
    from pipeline.laws.tables.document import Document, FormFit, GroupLaw, Header

ENDINGS = (".csv", ".tsv", ".parquet", ".pq")
OURS = ("--x", "--y", "--help", "-h")
SHOWN = 5
"""Rows of a list that are printed; the JSON has all."""
EPILOG = """examples:
  crossover fit runs.csv --x flops --y loss --group family --predict 1e21
  crossover fit runs.parquet --x N,D --y loss --form chinchilla --run run_id --json
  crossover fit curves.csv --x samples --y accuracy --where split=test --drop-bad
  crossover fit grid.csv --isoflop --x N,D --y loss --compute flops --group family --predict 1e22

without a FILE, of a study: crossover fit study=NAME
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message[0].upper()}{message[1:]}: see `crossover fit --help`.")


def is_of_table(words: list[str]) -> bool:
    """Whether a command line after ``fit`` is about a table, and not about a study."""
    if any(word.split("=")[0] in OURS for word in words):
        return True
    paths = [word for word in words if word == "-" or not (word.startswith("-") or "=" in word)]
    return bool(paths) and (paths[0] == "-" or paths[0].lower().endswith(ENDINGS) or Path(paths[0]).exists())


def _parser() -> _Parser:
    parser = _Parser(
        prog="crossover fit",
        description="Fit scaling laws to any table, with intervals, and tell where groups cross.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("file", metavar="FILE", help=".csv, .tsv or .parquet; - for CSV on the standard input")
    add = parser.add_argument_group("columns, by name").add_argument
    add("--x", required=True, metavar="COL[,COL]", help="inputs, in the order of the form's: compute, or N,D")
    add("--y", required=True, metavar="COL", help="the metric; lower is better, or an accuracy from 0 to 1")
    add("--group", default="", metavar="COL", help="families; each has its law, and each pair a crossover")
    add("--run", default="", metavar="COL", help="rows of one run (its checkpoints) are drawn together")
    add("--config", default="", metavar="COL", help="what was trained; its runs differ by seed")
    add("--seed", default="", metavar="COL", help="with --config this names a run")
    add("--weight", default="", metavar="COL", help="how much a row counts")
    add("--outcome", default="", metavar="COL", help="done, diverged, running, failed, ...")
    add("--tuned", default="", metavar="COL", help="a grid (learning rate): the best counts, and must lie inside")
    add("--metric", default="", metavar="COL", help="name of the metric; several are refused")
    add("--convention", default="", metavar="COL", help="how FLOPs were counted; several are refused")
    add("--unit", default="", metavar="COL", help="unit of the row; several are refused")
    add = parser.add_argument_group("rows").add_argument
    add("--where", action="append", default=[], metavar="COL=VALUE", help="only such rows; may be repeated")
    add("--drop-bad", action="store_true", help="leave bad rows out and list them, instead of refusing the table")
    add("--kind", default="", metavar="KIND", help="loss, error or accuracy (default: by the name of the metric)")
    add = parser.add_argument_group("the fit").add_argument
    add("--form", default="", metavar="NAME", help="a form, or ensemble (the default for one input)")
    add("--share", default="", metavar="P[,P]", help="parameters of the form that all groups have in common")
    add("--delta", type=float, metavar="D", help="of Huber's loss in ln y (default: 1.345 x the scatter)")
    add("--envelope", action="store_true", help="the lower envelope: points below the curve count ten times")
    add("--level", type=float, default=0.95, metavar="P", help="of intervals (default: 0.95)")
    add("--draws", type=int, default=1000, metavar="N", help="bootstrap draws (default: 1000)")
    add("--bootstrap", default="", metavar="run|wild", help="intervals by it, not by profile likelihood")
    add("--random-seed", type=int, default=0, metavar="N", help="of starts and draws (default: 0)")
    add("--predict", default="", metavar="X[,X]", help="places to predict; of several inputs one place after the other")
    add = parser.add_argument_group("best model size and data for a compute").add_argument
    add("--isoflop", action="store_true", help="isoFLOP profiles, surface and Pareto hull; --x N,D, --predict FLOPs")
    add("--compute", default="", metavar="COL", help="measured training FLOPs of a row (default: 6 N D)")
    add("--budget", default="", metavar="COL", help="nominal FLOPs (default: a gap of 20 %% in compute ends a budget)")
    add = parser.add_argument_group("what comes out").add_argument
    add("--json", action="store_true", help="print the whole document")
    add("--out", type=Path, metavar="FILE.json", help="write the whole document")
    return parser


def fit(words: list[str]) -> int:
    arguments = _parser().parse_args(words)
    if arguments.out and not arguments.out.absolute().parent.is_dir():
        raise BadInput(f"--out {arguments.out} lies in no folder: make it first.")
    document, lines = _found(arguments)
    if arguments.out:
        arguments.out.write_text(document.to_json() + "\n")
    print(document.to_json() if arguments.json else "\n".join(lines))
    return 0


COMMON = ("group", "run", "config", "outcome", "metric", "convention", "unit", "tuned", "form", "kind", "level")
COMMON += ("draws", "drop_bad")
OF_LAWS = ("weight", "delta", "bootstrap", "envelope", "share")
OF_SPLITS = ("compute", "budget")


def _found(arguments: argparse.Namespace) -> tuple["Header", list[str]]:
    """The document and the lines that show it."""
    own, others = (OF_SPLITS, OF_LAWS) if arguments.isoflop else (OF_LAWS, OF_SPLITS)
    if unused := [name for name in others if getattr(arguments, name)]:
        kind = "takes no" if arguments.isoflop else "is needed for"
        raise BadInput(f"--isoflop {kind} --{unused[0]}: see `crossover fit --help`.")
    how: dict[str, Any] = {name: getattr(arguments, name) for name in COMMON + own}
    how |= {"seed_column": arguments.seed, "seed": arguments.random_seed}
    how |= {"predict": _numbers(arguments.predict), "where": _filters(arguments.where)}
    if arguments.isoflop:
        from pipeline import splitting
        from pipeline.laws.isoflops.isotabular import fit_isoflop

        splits = fit_isoflop(arguments.file, arguments.x.split(","), arguments.y, **how)
        return splits, splitting.shown(splits)
    from pipeline.laws.tables.tabular import fit_table

    how["share"] = [name.strip() for name in arguments.share.split(",") if name.strip()]
    laws = fit_table(arguments.file, arguments.x.split(","), arguments.y, **how)
    return laws, _shown(laws)


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError as error:
        raise BadInput(f"--predict takes numbers with commas between, such as 1e20,1e21, not {text!r}.") from error


def _filters(words: list[str]) -> dict[str, str]:
    if bad := [word for word in words if "=" not in word]:
        raise BadInput(f"--where takes COLUMN=VALUE, not {bad[0]!r}.")
    return {column: value for column, _, value in (word.partition("=") for word in words)}


def _shown(document: "Document") -> list[str]:
    """A table and sentences."""
    from pipeline.laws import wording

    columns, settings = document.data["columns"], document.settings
    x = ", ".join(name for role, name in columns.items() if role[0] == "x")
    of = "1 - " if settings["kind"] == "accuracy" else ""
    lines = [
        f"{of}{columns['y']} against {x}: {wording.counted(document.data['rows_used'], 'row')} of "
        f"{document.data['source']} (sha256 {document.data['sha256'][:12]}), form {settings['form']}, "
        f"{wording.level(settings['level'])} intervals."
    ]
    lines += aligned([["group", "points", "status", "noise", "law"], *map(_row, document.groups)])
    for law in document.groups:
        who = f"{law.group}: " if law.group else ""
        lines += [f"{who}{_predicted(p)}" for p in law.predictions]
        lines += _held_out(who, law)
        lines += _listed(who, law)
        lines += [f"{who}{note}" for note in law.notes]
    lines += [crossing.sentence for crossing in document.crossings]
    lines += document.notes
    return lines + dropped(document.dropped)


def _row(law: "GroupLaw") -> list[str]:
    noise = "" if law.noise is None else f"{law.noise:.2g}"
    one = law.forms[0] if len(law.forms) == 1 else None
    said = _params(one) if one else ", ".join(f"{f.form} {f.weight:.2f}" for f in law.forms)
    return [law.group or "all", str(law.points), law.status, noise, said]


def _params(found: "FormFit") -> str:
    from pipeline.laws.wording import number

    parts = []
    for name, value in found.params.items():
        lo, hi = found.intervals.get(name, (None, None))
        ends = " to ".join("unbounded" if end is None else number(end, 3) for end in (lo, hi))
        parts.append(f"{name} {'unbounded' if value is None else number(value, 4)} ({ends})")
    return ", ".join(parts)


def _predicted(p: Any) -> str:
    from pipeline.laws.wording import number

    at = ", ".join(number(v, 3) for v in p.x)
    far = "inside the range fitted" if p.distance == 1 else f"{number(p.distance)} times beyond the range fitted"
    return (
        f"at {at}: {number(p.mean, 4)} (mean {number(p.lo, 4)} to {number(p.hi, 4)}, a new run {number(p.new_lo, 4)} "
        f"to {number(p.new_hi, 4)}), {far}."
    )


def _held_out(who: str, law: "GroupLaw") -> list[str]:
    """One line, or none."""
    from pipeline.laws.wording import listed, number

    if not law.held_out:
        return []
    by = listed([held.by for held in law.held_out])
    last, rolled = (listed([_percent(getattr(held, of)) for held in law.held_out]) for of in ("last", "rmse"))
    far = listed([number(max(stage["distance"] for stage in held.stages)) for held in law.held_out])
    return [
        f"{who}fitted without the largest {by} it misses them by {last}; rolled out up to {far} times, by {rolled}."
    ]


def _percent(error: float) -> str:
    """Of an error in ln y."""
    from pipeline.laws.wording import number

    return f"{number(100 * math.expm1(error))} %"


def _listed(who: str, law: "GroupLaw") -> list[str]:
    if not law.diverged:
        return []
    shown = [f"row {p.row} (+{p.excess:.2f} in ln y)" for p in law.diverged[:SHOWN]]
    more = f" and {len(law.diverged) - SHOWN} more" if len(law.diverged) > SHOWN else ""
    return [f"{who}diverged and weighted down: {', '.join(shown)}{more}."]


def dropped(rows: list[dict[str, Any]]) -> list[str]:
    """A sentence, or none."""
    if not rows:
        return []
    shown = [f"row {row['row']} ({row['column']} {row['reason']})" for row in rows[:SHOWN]]
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return [f"Left out: {', '.join(shown)}{more}."]


def aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
