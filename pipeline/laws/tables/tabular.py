"""Tabular: laws and crossovers straight from a table, without a study: one call, one document.

fit_table(frame, x="flops", y="loss", group="family", predict=[1e21]).to_json()
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import combinations
from typing import Any

import numpy as np

from pipeline.errors import BadInput
from pipeline.laws.forms import FORMS, Array
from pipeline.laws.multiplier import NEARER
from pipeline.laws.pair import Apart, Pair
from pipeline.laws.posterior import HORIZON
from pipeline.laws.reach import PROFILED
from pipeline.laws.tables.columns import Columns
from pipeline.laws.tables.document import Document, GroupLaw
from pipeline.laws.tables.grouplaw import group_law
from pipeline.laws.tables.passing import passing
from pipeline.laws.tables.settings import DRAWS, LEVEL, Settings, form_for
from pipeline.laws.tables.sharedlaw import shared_laws
from pipeline.laws.tables.table import Table, table
from pipeline.laws.tables.tuned import best_of_grid

Paired = Callable[[str, str], Pair]
"""From the names of two groups."""


def fit_table(
    source: Any,
    x: str | Sequence[str],
    y: str,
    *,
    group: str = "",
    run: str = "",
    config: str = "",
    seed_column: str = "",
    weight: str = "",
    outcome: str = "",
    metric: str = "",
    convention: str = "",
    unit: str = "",
    tuned: str = "",
    form: str = "",
    kind: str = "",
    delta: float | None = None,
    level: float = LEVEL,
    draws: int = DRAWS,
    bootstrap: str = "",
    envelope: bool = False,
    seed: int = 0,
    share: Sequence[str] = (),
    predict: Sequence[float] = (),
    where: Mapping[str, str] | None = None,
    drop_bad: bool = False,
) -> Document:
    """Fit every group of a table and compare each pair of groups.

    ``source`` is a frame, a mapping of arrays, or the path of a CSV, TSV or Parquet file ("-" is CSV on stdin). ``x``
    names a column or several, in the order of the form's inputs; ``group`` to ``tuned`` name more of them, as in
    ``Columns``. ``form`` to ``predict`` are as in ``Settings``; ``kind``, ``where`` and ``drop_bad`` as in ``table``.
    Raises BadInput, in one sentence, for whatever cannot be used.
    """
    names = (x,) if isinstance(x, str) else tuple(x)
    chosen = form_for(form, len(names))
    settings = Settings(
        chosen, "loss", delta, level, draws, bootstrap, envelope, seed, tuple(share), tuple(map(float, predict))
    )
    settings.check(len(names))
    columns = Columns(names, y, group, run, config, seed_column, weight, outcome, metric, convention, unit, tuned)
    data = best_of_grid(table(source, columns, _kind(kind, chosen), where, drop_bad), drop_bad)
    return _document(data, replace(settings, kind=data.kind))


def _kind(kind: str, form: str) -> str:
    """A form that takes a loss gives an accuracy as it is, a share like an error; all others fall."""
    links = form in FORMS and FORMS[form].inputs == ("loss",)
    return "error" if links else kind


def _document(data: Table, settings: Settings) -> Document:
    document = Document(data.described(), settings.plain(), dropped=[asdict(row) for row in data.dropped])
    document.groups, paired = _together(data, settings, document) if settings.share else _alone(data, settings)
    fitted = [law for law in document.groups if law.status != "refused"]
    if len(data.columns.x) == 1:
        for a, b in combinations(fitted, 2):
            ranges = (a.x_min[0], a.x_max[0]), (b.x_min[0], b.x_max[0])
            found = passing((a.group, b.group), paired(a.group, b.group), ranges, settings.level)
            document.crossings += [found] if found else []
            apart = f"{a.group} and {b.group} were not measured in a common range, so not compared."
            document.notes += [] if found else [apart]
    return document


def _together(data: Table, settings: Settings, document: Document) -> tuple[list[GroupLaw], Paired]:
    laws, shared = shared_laws(data, settings)
    document.notes += [against] if (against := shared.against()) else []
    return laws, shared.pair


def _alone(data: Table, settings: Settings) -> tuple[list[GroupLaw], Paired]:
    """Every group by itself. Raises BadInput where none can be fitted."""
    grid, laws, sampled = _grid(data), [], {}
    for group in data.groups:
        try:
            law, sampled[group] = group_law(data, group, settings, grid)
        except BadInput as error:
            if len(data.groups) == 1:
                raise
            law = GroupLaw(group, settings.form, "refused", notes=[str(error)])
        laws.append(law)
    if not sampled:
        raise BadInput(f"No group can be fitted; {laws[0].group}: {laws[0].notes[0]}")
    return laws, lambda a, b: Apart(sampled[a], sampled[b])


def _grid(data: Table) -> Array:
    """ln x, from well below the first point of any group to far past the last, at which laws can be compared."""
    first, last = data.x[:, 0].min() / NEARER, data.x[:, 0].max() * HORIZON
    return np.linspace(np.log(first), np.log(last), PROFILED)
