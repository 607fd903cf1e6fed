"""Splitting: what ``crossover fit FILE --isoflop`` prints: a table of budgets by group, and sentences."""

from typing import TYPE_CHECKING

from pipeline.fitting import SHOWN, aligned, dropped
from pipeline.laws.wording import counted, level, number, place

if TYPE_CHECKING:
    from pipeline.laws.isoflops.allocation import Interval
    from pipeline.laws.isoflops.isodocument import Best, Budget, GroupSplit, IsoDocument, Route, Vertex

WIDE = 1e6
"""An interval whose ends lie a factor of this apart is told as unbounded."""
ROUTES = {"isoflop": "isoFLOP profiles", "surface": "surface"}


def shown(document: "IsoDocument") -> list[str]:
    data, settings = document.data, document.settings
    x = ", ".join(name for role, name in data["columns"].items() if role[0] == "x")
    lines = [
        f"{data['columns']['y']} against {x}: {counted(data['rows_used'], 'row')} of {data['source']} (sha256 "
        f"{data['sha256'][:12]}), FLOPs {settings['flops']}, {level(settings['level'])} intervals."
    ]
    if any(found.budgets for found in document.groups):
        header = ["group", "budget", "runs", "sizes", "best N", "best D", data["columns"]["y"], "cubic N", "parabola N"]
        rows = [_row(found.group or "all", budget) for found in document.groups for budget in found.budgets]
        lines += aligned([header, *rows])
    for found in document.groups:
        who = f"{found.group}: " if found.group else ""
        lines += [f"{who}{said}" for said in _said(found, data["columns"]["y"])]
    return lines + document.notes + dropped(document.dropped)


def _row(group: str, b: "Budget") -> list[str]:
    counts = [group, place("compute", b.flops), str(b.runs), str(b.sizes)]
    best = ["refused", "", ""] if b.refused else [_span(b.size), _span(b.samples), _span(b.y, 4)]
    return [*counts, *best, _vertex(b.cubic), _vertex(b.parabola)]


def _said(found: "GroupSplit", y: str) -> list[str]:
    lines = [_route(name, route) for name, route in (("isoflop", found.isoflop), ("surface", found.surface)) if route]
    one = "Only one route has an answer, so nothing else confirms it."
    lines += [found.agreement.sentence if found.agreement else one] if lines else []
    lines += [_predicted(best, y) for best in found.predictions]
    lines += _some([f"Refused: {reason}." for reason in found.refused])
    lines += _listed(found) + found.notes
    if found.pareto:
        rows, hull = found.pareto.rows, found.pareto.hull
        named = ", ".join(map(str, hull[:SHOWN])) + (f" and {len(hull) - SHOWN} more" if len(hull) > SHOWN else "")
        lines.append(
            f"Pareto: {len(rows)} of {counted(found.runs, 'run')} are not beaten with less compute; hull rows {named}."
        )
    return lines


def _route(name: str, route: "Route") -> str:
    which = f"{route.about['form']} surface" if name == "surface" else ROUTES[name]
    grows = " and ".join(
        f"{n} {how} C^{_plain(e)}"
        for n, how, e in zip("ND", ("grows as", "as"), route.exponents.values(), strict=False)
    )
    at = ", ".join(f"{n} {_span(f)}" for n, f in zip("ND", route.factors.values(), strict=False))
    return f"By the {which} the best {grows}; at {place('compute', route.at)} {at}."


def _predicted(best: "Best", y: str) -> str:
    said = [f"N {_span(best.size)}", f"D {_span(best.samples)}" if best.samples else ""]
    said += [f"{y} {_span(best.y, 4)}" if best.y else ""]
    far = "inside the range" if best.distance == 1 else f"{number(best.distance)} times beyond the range"
    return f"at {best.flops:.3g} FLOPs by the {ROUTES[best.route]}: {', '.join(filter(None, said))}; {far}."


def _listed(found: "GroupSplit") -> list[str]:
    if not found.aside:
        return []
    rows = [f"row {run.row} ({run.why})" for run in found.aside[:SHOWN]]
    more = f" and {len(found.aside) - SHOWN} more" if len(found.aside) > SHOWN else ""
    return [f"Given less weight: {', '.join(rows)}{more}."]


def _some(lines: list[str]) -> list[str]:
    rest = len(lines) - SHOWN
    return lines[:SHOWN] + ([f"Refused: {rest} more, listed in the document (--json)."] if rest > 0 else [])


def _plain(e: "Interval") -> str:
    return f"{e.value:.3f} ({e.lo:.3f} to {e.hi:.3f})"


def _span(found: "Interval | None", digits: int = 3) -> str:
    if found is None:
        return ""
    value = number(found.value, digits)
    if found.lo > 0 and found.hi / found.lo > WIDE:
        return f"{value} (unbounded)"
    return f"{value} ({number(found.lo, digits)} to {number(found.hi, digits)})"


def _vertex(found: "Vertex") -> str:
    if found.size is None:
        return found.check
    return number(found.size, 3) + ("" if found.check == "bracketed" else f" ({found.check})")
