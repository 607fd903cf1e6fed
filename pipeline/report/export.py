"""Files for other programs: trials as CSV and Parquet, laws as CSV and LaTeX, figures as SVG, PNG and PDF.

Equal input gives equal bytes (but for PDF, whose objects come in any order). Columns and types are fixed,
whatever the rows hold, so that DuckDB, pandas and a reader's script see the same table after every study.
"""

import csv
import os
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pipeline.errors import BadInput, nearest
from pipeline.report import charts, numbers, series, tables, theme

Row = dict[str, Any]
# name: str, int or float. A field not named here follows in alphabetical order, typed by what it holds.
COLUMNS: dict[str, type] = {
    "digest": str, "kind": str, "study": str, "family": str, "arch": str, "params": int, "dataset": str,
    "samples": int, "budget": int, "epochs": float, "seed": int, "lr": float, "train_flops": float,
    "forward_flops": float, "flops_convention": str, "device_seconds": float, "device": str, "outcome": str,
    "reason": str, "log": str, "val_error": float, "val_loss": float, "train_loss": float, "parent": str,
    "task": str, "protocol": str, "shots": int, "finetune_steps": int, "finetune_lr": float, "dev_error": float,
    "test_error": float, "finished": str,
    "crossover_version": str, "torch_version": str,
}  # fmt: skip
TABLES = ("csv", "parquet", "latex")
FIGURES = ("svg", "png", "pdf")


def export(
    rows: list[Row],
    folder: Path | str,
    formats: Iterable[str] = ("csv", "parquet"),
    analysis: Row | None = None,
) -> list[Path]:
    """Write trials.csv and trials.parquet; with an analysis laws.csv too. ``latex`` writes laws.tex.

    Returns the paths written. Raises BadInput for an unknown format.
    """
    wanted = _known(formats, TABLES)
    target = _folder(folder)
    columns = columns_of(rows)
    typed = [{name: _cast(row.get(name), kind) for name, kind in columns.items()} for row in _ordered(rows)]
    made: list[Path] = []
    if "csv" in wanted:
        made.append(_csv(target / "trials.csv", list(columns), typed))
        if analysis is not None:
            made.append(_csv(target / "laws.csv", _LAW_COLUMNS, law_rows(analysis)))
    if "parquet" in wanted:
        made.append(_parquet(target / "trials.parquet", columns, typed))
    if "latex" in wanted:
        made.append(_publish(target / "laws.tex", lambda path: path.write_text(latex(analysis or {}), "utf-8")))
    return made


def figures(rows: list[Row], analysis: Row, folder: Path | str, formats: Iterable[str] = ("svg", "png")) -> list[Path]:
    """One file for each chart of the page and each format, in the light colours; no browser is used.

    Returns the paths written. Raises BadInput for an unknown format.
    """
    import vl_convert

    wanted = _known(formats, FIGURES)
    target = _folder(folder)
    config = theme.vega_config("light", series.families(rows, analysis))
    draw: dict[str, Callable[[Row], bytes]] = {
        "svg": lambda spec: _renumbered(vl_convert.vegalite_to_svg(spec, config=config)).encode(),
        "png": lambda spec: vl_convert.vegalite_to_png(spec, config=config, scale=2),
        "pdf": lambda spec: vl_convert.vegalite_to_pdf(spec, config=config),
    }
    made = []
    for chart in charts.build(rows, analysis, {}):
        spec = {**chart.spec, "width": 640, "autosize": "pad", "background": "white", "padding": 12}
        for form in wanted:
            data = draw[form](spec)
            made.append(_publish(target / f"{chart.name}.{form}", lambda path, data=data: path.write_bytes(data)))
    return made


def _renumbered(svg: str) -> str:
    """Vega counts clip paths over the life of the process; counted anew, equal figures are equal files."""
    numbering: dict[str, str] = {}
    return re.sub(r"\bclip\d+", lambda m: numbering.setdefault(m[0], f"clip{len(numbering)}"), svg)


def columns_of(rows: list[Row]) -> dict[str, type]:
    """Names and types of the columns: the fixed ones first, then what else the rows hold."""
    extra = sorted({name for row in rows for name in row} - COLUMNS.keys())
    return {**COLUMNS, **{name: _type([row.get(name) for row in rows]) for name in extra}}


_LAW_COLUMNS = [
    "family",
    "axis",
    "metric",
    "form",
    "status",
    "n_points",
    "n_runs",
    "level",
    "quantity",
    "value",
]
_LAW_COLUMNS += ["lo", "hi"]


def law_rows(analysis: Row) -> list[Row]:
    """One row for each parameter of each law, and one for each held-out point (its ln error)."""
    found = []
    for law in series.laws(analysis):
        same = {k: law.get(k) for k in _LAW_COLUMNS[:8]}
        intervals = law.get("intervals") or {}
        for name, value in (law.get("params") or {}).items():
            lo, hi = intervals.get(name) or (None, None)
            found.append({**same, "quantity": name, "value": value, "lo": lo, "hi": hi})
        for held in charts.held_out(law):
            found.append({**same, "quantity": "holdout_log_error", "value": held.get("log_error")})
    return found


def latex(analysis: Row) -> str:
    """A booktabs table of the laws, ready for \\input."""
    lines = [
        r"\begin{tabular}{lllll}",
        r"\toprule",
        r"Family & Along & Form & Parameters & Held-out $\Delta\ln$ \\",
        r"\midrule",
    ]
    for law in tables.laws(analysis):
        params = ", ".join(
            f"{_tex(name)} {_tex(value)} {_tex(range_)}".strip() for name, value, range_ in law["params"]
        )
        held = ", ".join(_tex(h["error"]) for h in law["holdout"]) or "--"
        lines.append(f"{_tex(law['title'])} & {_tex(law['axis'])} & {law['latex']} & {params} & {held} \\\\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _csv(path: Path, columns: list[str], rows: list[Row]) -> Path:
    def fill(scratch: Path) -> None:
        with scratch.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)

    return _publish(path, fill)


def _parquet(path: Path, columns: dict[str, type], rows: list[Row]) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    table = pa.Table.from_pylist(rows, schema=schema)
    return _publish(path, lambda scratch: pq.write_table(table, scratch, compression="zstd"))


def _publish(path: Path, fill: Callable[[Path], Any]) -> Path:
    """All or nothing, so that no reader meets half a file."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    scratch = Path(name)
    try:
        fill(scratch)
        scratch.chmod(0o644)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    return path


def _folder(folder: Path | str) -> Path:
    target = Path(folder)
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"Cannot write to {target} ({error.strerror}): name a folder that can be made.") from error
    return target


def _known(formats: Iterable[str], valid: tuple[str, ...]) -> list[str]:
    wanted = list(dict.fromkeys(formats))
    for form in wanted:
        if form not in valid:
            raise BadInput(f"There is no export format {form!r}: {nearest(form, valid)}")
    return wanted


def _ordered(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (str(row.get("kind")), str(row.get("digest"))))


def _cast(value: Any, kind: type) -> Any:
    """The value in its column's type; what does not fit is null, except that anything has a string."""
    if value is None:
        return None
    if kind is str:
        return value if isinstance(value, str) else repr(value)
    number = numbers.finite(value)
    if number is None:
        return None
    # a count is exact as it is; through a float it would lose digits above 2^53
    return value if kind is int and isinstance(value, int) else kind(number)


def _type(values: list[Any]) -> type:
    given = [v for v in values if v is not None]
    if given and all(isinstance(v, int) and not isinstance(v, bool) for v in given):
        return int
    return float if given and all(numbers.finite(v) is not None for v in given) else str


_TEX = {
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
    "−": "$-$", "·": r"$\cdot$", "–": "--", "\u00a0": "~",
    "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "δ": r"$\delta$", "σ": r"$\sigma$",
}  # fmt: skip
_TEX |= {c: f"$^{{{d}}}$" for c, d in zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789", strict=True)}


def _tex(text: Any) -> str:
    return "".join(_TEX.get(character, character) for character in str(text))
