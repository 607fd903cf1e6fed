"""IsoFLOP of a table: the best split of compute between model size and samples, in one call and one document.

fit_isoflop(frame, x=("N", "D"), y="loss", compute="flops", group="family", predict=[1e22]).to_json()
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipeline.errors import BadInput
from pipeline.laws.forms import form_named
from pipeline.laws.isoflops.isodocument import IsoDocument
from pipeline.laws.isoflops.split import split
from pipeline.laws.isoflops.surface import of_size_and_samples
from pipeline.laws.tables.columns import Columns
from pipeline.laws.tables.settings import DRAWS, LEVEL, Settings
from pipeline.laws.tables.table import Table, table
from pipeline.laws.tables.tuned import best_of_grid

FORM = "chinchilla"
SIX_N_D = "6 N D"


def fit_isoflop(
    source: Any,
    x: str | Sequence[str] = ("N", "D"),
    y: str = "loss",
    *,
    compute: str = "",
    budget: str = "",
    group: str = "",
    run: str = "",
    config: str = "",
    seed_column: str = "",
    outcome: str = "",
    metric: str = "",
    convention: str = "",
    unit: str = "",
    tuned: str = "",
    form: str = FORM,
    kind: str = "",
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
    predict: Sequence[float] = (),
    where: Mapping[str, str] | None = None,
    drop_bad: bool = False,
) -> IsoDocument:
    """Fit the isoFLOP profiles and the surface L(N, D) of every group of a table.

    ``source`` is as in ``fit_table``. ``x`` names the columns of model size and of samples; the samples may be left out
    where ``compute`` names the measured training FLOPs, and then neither D* nor the surface is known. Without
    ``compute`` FLOPs are 6 N D. Budgets are told by gaps in compute, or by the column ``budget``. ``form`` is of N and
    D; ``predict`` are FLOPs. All else is as in ``fit_table``. Raises BadInput, in one sentence, for whatever cannot be
    used, and where no group has an optimum by either route.
    """
    names = (x,) if isinstance(x, str) else tuple(x)
    if len(names) > 2 or (len(names) == 1 and not compute):
        raise BadInput(
            "IsoFLOP profiles are of model size and samples: --x N,D, or --x N and the training FLOPs in --compute."
        )
    of_size_and_samples(form_named(form or FORM).name)
    settings = Settings(form or FORM, "loss", level=level, draws=draws, seed=seed, predict=tuple(map(float, predict)))
    settings.check(1)
    columns = Columns(
        names,
        y,
        group,
        run,
        config,
        seed_column,
        outcome=outcome,
        metric=metric,
        convention=convention,
        unit=unit,
        tuned=tuned,
        compute=compute,
        budget=budget,
    )
    return _document(best_of_grid(table(source, columns, kind, where, drop_bad), drop_bad), settings)


def _document(data: Table, settings: Settings) -> IsoDocument:
    groups = [split(data, group, settings) for group in data.groups]
    if all(found.status == "refused" for found in groups):
        first, more = groups[0], len(groups) - 1
        who = f" of {first.group}" + (f" (nor of {more} more)" if more else "") if first.group else ""
        raise BadInput(f"No best model size can be told{who}: {'; '.join(first.refused)}.")
    found = IsoDocument(
        data.described(), _settings(data, settings), [asdict(row) for row in data.dropped], groups=groups
    )
    if not data.columns.compute:
        found.notes.append(
            f"FLOPs are {SIX_N_D}, wrong for small models and for convolutions; --compute takes measured ones."
        )
    for group in data.groups:
        mine = data.group == group
        if data.columns.runs_named and len(set(data.run[mine].tolist())) < mine.sum():
            found.notes.append(
                f"{group or 'The table'} has several rows of one run; each counts as a run of its own here, so that "
                "intervals are too narrow where such rows stray together."
            )
    return found


def _settings(data: Table, settings: Settings) -> dict[str, Any]:
    return {
        "analysis": "isoFLOP profiles and surface",
        "form": settings.form,
        "flops": data.columns.compute or SIX_N_D,
        "loss": "squared relative residuals with far ones weighted down (profiles); Huber terms of ln y (surface)",
        "bootstrap": "parametric, with Student's correction; paired between the routes",
        **{name: getattr(settings, name) for name in ("level", "draws", "seed")},
        "kind": data.kind,
        "predict": list(settings.predict),
    }
