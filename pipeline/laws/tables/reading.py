"""Reading: any table as columns of cells, whatever holds it. Nothing is judged here but whether it is a table.

A table is a pandas or polars frame, a mapping of arrays, the path of a CSV, TSV or Parquet file, or "-" for CSV on the
standard input. Text files are read by the standard library, so that an error names its row; pyarrow is loaded for
Parquet only.
"""

import csv
import io
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import BadInput, brief

DELIMITERS = {".csv": ",", ".tsv": "\t"}
PARQUET = (".parquet", ".pq")
STDIN = "-"


@dataclass(frozen=True)
class Source:
    """``cells`` by column, all of one length; row 1 is the first below the header."""

    name: str
    cells: dict[str, list[Any]]

    @property
    def rows(self) -> int:
        return len(next(iter(self.cells.values()), []))


def read(source: Any) -> Source:
    """Raises BadInput for what is no table: a folder, an empty file, ragged rows, bytes that are no UTF-8."""
    if isinstance(source, str | os.PathLike):
        found = _file(os.fspath(source))
    elif hasattr(source, "columns") and hasattr(source, "__getitem__"):
        names = _names("the table", [str(name) for name in source.columns])
        found = Source("table", {n: _listed(source[c]) for n, c in zip(names, source.columns, strict=True)})
    elif isinstance(source, Mapping):
        found = Source("table", {str(name): _listed(values) for name, values in source.items()})
    else:
        raise BadInput(f"A {type(source).__name__} is no table: give a frame, a mapping of arrays or a path.")
    lengths = {name: len(cells) for name, cells in found.cells.items()}
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in list(lengths.items())[:6])
        raise BadInput(f"The columns of a table must be equally long: {shown}.")
    if not found.rows:
        raise BadInput(f"{found.name} has no rows: give a table with one run or checkpoint a row.")
    return found


def _listed(values: Any) -> list[Any]:
    """Cells as plain Python objects; what a frame holds as missing is None."""
    if hasattr(values, "notna"):
        values = values.astype(object).where(values.notna(), None)
    if hasattr(values, "ndim") and values.ndim != 1:
        raise BadInput(f"Every column of a table has one axis, and one here has {values.ndim}: give plain columns.")
    to_list = getattr(values, "tolist", None) or getattr(values, "to_list", None)
    if to_list is None and (isinstance(values, str | bytes) or not isinstance(values, Sequence)):
        raise BadInput(f"A column of a table is a sequence of cells, not a {type(values).__name__}.")
    return list(to_list() if to_list else values)


def _names(where: str, names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"{where} has two columns {name!r}: rename one.")
    return names


def _file(path: str) -> Source:
    suffix = Path(path).suffix.lower()
    try:
        if path == STDIN:
            return _text("standard input", sys.stdin.buffer.read(), ",")
        if os.path.isdir(path):
            raise BadInput(f"{path} is a folder: give the table in it, a .csv, .tsv or .parquet.")
        if suffix in PARQUET:
            return _parquet(path)
        if suffix not in DELIMITERS:
            raise BadInput(f"{path} is no table by its ending: give a .csv, .tsv or .parquet, or - for CSV on stdin.")
        return _text(path, Path(path).read_bytes(), DELIMITERS[suffix])
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise BadInput(f"{path!r} cannot be read ({brief(error)}): name a table that exists.") from error


def _text(name: str, content: bytes, delimiter: str) -> Source:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start)
        raise BadInput(f"{name} is not UTF-8 text (byte {error.start}, row {row}): save it as UTF-8.") from error
    if not text.strip():
        raise BadInput(f"{name} is empty: give a header and one row a run.")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    try:
        rows.extend(row for row in reader if row)
    except csv.Error as error:
        raise BadInput(f"{name} is no table that can be read (line {reader.line_num}: {error}): mend it.") from error
    header = _names(name, [cell.strip() for cell in rows[0]]) if rows else []
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(header):
            raise BadInput(f"{name}, row {number} has {len(row)} cells and the header {len(header)}: mend that row.")
    return Source(name, {n: [row[i] for row in rows[1:]] for i, n in enumerate(header)})


def _parquet(path: str) -> Source:
    import pyarrow as arrow
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read(use_threads=False)
        names = _names(path, list(table.column_names))
        return Source(path, {name: table.column(i).to_pylist() for i, name in enumerate(names)})
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise BadInput(f"{path} is no Parquet that can be read ({brief(error)}): write it again.") from error
