"""A table of images: CSV, TSV or Parquet with a column of paths, one of labels and, if there is one, one of splits."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from data_prep.sources.archives import SPLITS
from data_prep.sources.base import Record
from data_prep.sources.deferred import FileImage
from data_prep.sources.files import FileSource
from pipeline.errors import BadInput, brief, nearest

DELIMITERS = {".csv": ",", ".tsv": "\t"}
PARQUET = (".parquet", ".pq")
NO_LABEL = ("", "nan", "NaN", "None", "null")
"""As tables spell a label that is missing."""


@dataclass
class TableSource(FileSource):
    """``path`` is the table; its rows are read a piece at a time, their images where they are encoded."""

    kind: ClassVar[str] = "table"
    elsewhere: ClassVar[tuple[str, ...]] = (*FileSource.elsewhere, "root")
    root: str = ""
    """Folder that the paths are relative to; default: the table's own."""
    path_column: str = "path"
    label_column: str = "label"
    split_column: str = "split"
    """Of train, val or test; a table without it is all for training."""
    label_separator: str = ""
    """Such as "|" in ``cat|dog``: then images have several labels, and an empty cell none."""

    def records(self) -> Iterator[Record]:
        path = self.located("FILE, a .csv, .tsv or .parquet")
        root = os.path.abspath(Path(self.root).expanduser() if self.root else path.parent)
        if not os.path.isdir(root):
            raise BadInput(
                f"data root {root} is no folder: set data.NAME.root to the one that the paths are relative to."
            )
        row = 0
        for row, (image, label, split) in enumerate(_rows(path, self._columns()), start=1):
            where = f"{path}, row {row}"
            try:
                file = _file(image, root)
                yield Record(_split(split), self._label(label), FileImage(file, where), f"{where}: {image}")
            except ValueError as error:
                raise BadInput(f"{where} {error}.") from error
        if not row:
            raise BadInput(f"{path} has no rows: give a table with one image a row.")

    def content(self) -> dict[str, Any]:
        """Of the table; images that are overwritten in place are not noticed."""
        return {**super().content(), "root": self.root and str(Path(self.root).expanduser().absolute())}

    def _columns(self) -> tuple[str, str, str]:
        return self.path_column, self.label_column, self.split_column

    def _label(self, cell: Any) -> str | tuple[str, ...]:
        """Raises ValueError for a cell that is no label."""
        if isinstance(cell, list):
            return tuple(dict.fromkeys(_class(each) for each in cell))
        if self.label_separator and isinstance(cell, str):
            return tuple(dict.fromkeys(_class(part) for part in cell.split(self.label_separator) if part.strip()))
        return _class(cell)


def _class(cell: Any) -> str:
    """Text, or a whole number as it is written."""
    if isinstance(cell, float) and cell.is_integer():
        cell = int(cell)
    if cell is None or cell != cell or str(cell).strip() in NO_LABEL:
        raise ValueError("has no label: fill or remove it")
    if not isinstance(cell, (str, int)):
        raise ValueError(f"has the label {cell!r}, which is neither text nor a whole number: mend it")
    return str(cell).strip()


def _split(cell: Any) -> str:
    name = "train" if cell is None else str(cell).strip()
    if name.lower() not in SPLITS:
        raise ValueError(f"is of split {name!r}, which is none of train, val and test: mend it")
    return SPLITS[name.lower()]


def _file(cell: Any, root: str) -> str:
    """Raises ValueError for a path that is empty or leads out of the root."""
    if not isinstance(cell, str) or not cell.strip() or "\0" in cell:
        raise ValueError("has no path: fill or remove it")
    path = os.path.normpath(os.path.join(root, cell))
    if os.path.commonpath([path, root]) != root:
        raise ValueError(f"leads out of {root} with {cell!r}: set data.NAME.root to a folder that holds all images")
    return path


def _rows(path: Path, columns: tuple[str, str, str]) -> Iterator[tuple[Any, Any, Any]]:
    """(path, label, split) of each row; without a column of splits, train. Raises BadInput for a damaged table."""
    import pyarrow as arrow

    try:
        for batch in _batches(path, columns):
            lists = [batch.column(name).to_pylist() for name in columns if name in batch.schema.names]
            if len(lists) < len(columns):
                lists.append(["train"] * batch.num_rows)
            yield from zip(*lists, strict=True)
    except (arrow.ArrowException, OSError, ValueError) as error:
        raise BadInput(f"{path} is no table that can be read ({brief(error)}): mend it, or write it again.") from error


def _batches(path: Path, columns: tuple[str, str, str]) -> Iterator[Any]:
    if path.suffix.lower() in PARQUET:
        import pyarrow.parquet as parquet

        with parquet.ParquetFile(path, page_checksum_verification=True) as file:
            yield from file.iter_batches(columns=_found(path, file.schema_arrow.names, columns))
    elif path.suffix.lower() in DELIMITERS:
        yield from _csv(path, columns)
    else:
        raise BadInput(f"{path} is no table by its ending: give a .csv, .tsv or .parquet.")


def _csv(path: Path, columns: tuple[str, str, str]) -> Iterator[Any]:
    import pyarrow as arrow
    from pyarrow import csv

    parse = csv.ParseOptions(delimiter=DELIMITERS[path.suffix.lower()])
    read = csv.ReadOptions(use_threads=False)  # so that an error names its row
    with path.open("rb") as file:
        head = file.readline()
    names = csv.read_csv(arrow.py_buffer(head), parse_options=parse).column_names
    found = _found(path, names, columns)
    convert = csv.ConvertOptions(include_columns=found, column_types=dict.fromkeys(found, arrow.string()))
    with csv.open_csv(path, read, parse_options=parse, convert_options=convert) as reader:
        yield from reader


def _found(path: Path, names: list[str], columns: tuple[str, str, str]) -> list[str]:
    for field, column in zip(("path_column", "label_column"), columns, strict=False):
        if column not in names:
            raise BadInput(f"{path} has no column {column!r}, {nearest(column, names)} Set data.NAME.{field}.")
        if names.count(column) > 1:
            raise BadInput(f"{path} has two columns {column!r}: rename one.")
    return [column for column in columns if column in names]
