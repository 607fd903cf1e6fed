"""Reporting checklist of the fit, filled in from what was done.

Items after "(Mis)Fitting: A Survey of Scaling Laws" (Li, Kudugunta and Zettlemoyer 2025, arXiv 2502.18969): form,
loss, optimiser, initialisation, what was counted, what was left out.
"""

from collections.abc import Mapping, Sequence

from pipeline.laws import wording
from pipeline.laws.comparison.law import BEHIND, Law
from pipeline.laws.forms import FORMS
from pipeline.laws.posterior import HORIZON


def checklist(
    metric: str, laws: Sequence[Law], conventions: Mapping[str, str], draws: int, seed: int, level: float
) -> dict[str, str]:
    """Item -> answer, in reading order. Every answer follows from the laws given."""
    fitted = [law for law in laws if law.form]
    forms = sorted({law.form for law in fitted})
    deltas = sorted({law.delta for law in fitted if law.delta})
    return {
        "fitted metric": f"{wording.metric(metric)} ({metric}), lower is better; mean of its logarithm over seeds",
        "form": "; ".join(f"{name}: y = {FORMS[name].latex}" for name in forms) or "none could be fitted",
        "loss": "sum of Huber terms on the residuals of ln y, weighted by runs",
        "delta": _range(deltas, "1.345 x the scatter about a least-squares fit, at least 0.001"),
        "optimiser": "damped Gauss-Newton (Levenberg-Marquardt) with analytic gradients, inside bounds, numpy float64",
        "starts": _starts(fitted),
        "fit status": "; ".join(f"{_name(law)}: {law.status}" for law in laws) or "no law",
        "frontier": "lower envelope over the architectures of a family, taken anew in every draw",
        "bootstrap": f"{draws} draws, seed {seed}; whole runs moved by the seeds' scatter, cells by the scatter about "
        "the law, Student-t for few degrees of freedom",
        "intervals": f"{wording.level(level)}, percentiles of the draws; of crossings by profile",
        "C": conventions.get("C", "as given with the points"),
        "D": conventions.get("D", "as given with the points"),
        "hold-out": _holdout(laws),
        "crossover rule": "profile likelihood of the gap between two laws, Student-t, Welch's degrees of freedom; a "
        f"crossing is claimed where its {wording.level(level)} interval has two ends, at most {HORIZON:g} times past "
        "the last point; where a law does not fit, draws of the measured means, inside the range both were run in",
        "points fitted": "; ".join(f"{_name(law)}: {law.n_points} places, {law.n_runs} runs" for law in fitted)
        or "none",
        "exclusions": _exclusions(laws),
    }


def _name(law: Law) -> str:
    return f"{wording.family(law.family)} in {law.axis}"


def _starts(laws: Sequence[Law]) -> str:
    counts = sorted({law.starts for law in laws})
    if not counts:
        return "none"
    return (
        f"{' or '.join(map(str, counts))} exponents, the other parameters by linear least squares (variable projection)"
    )


def _range(values: Sequence[float], rule: str) -> str:
    if not values:
        return rule
    ends = [wording.number(v) for v in (values[0], values[-1])]
    return f"{ends[0]} to {ends[1]} in ln y ({rule})" if ends[0] != ends[1] else f"{ends[0]} in ln y ({rule})"


def _holdout(laws: Sequence[Law]) -> str:
    rule = "each law fitted again without its points at the largest x, which it then predicts"
    held = [law.holdout for law in laws if law.holdout]
    if not held:
        return f"{rule}; none could be held out"
    inside = sum(bool(h["inside"]) for h in held)
    return f"{rule}; {inside} of {len(held)} inside the interval for a new mean"


def _exclusions(laws: Sequence[Law]) -> str:
    """Grouped by reason; a run on both axes is counted once."""
    groups: dict[str, set[str]] = {}
    for law in laws:
        for left_out in law.excluded:
            groups.setdefault(left_out["reason"], set()).add(left_out["run"])
    ordered = sorted(groups.items(), key=lambda item: (item[0] == BEHIND, -len(item[1]), item[0]))
    return "; ".join(f"{wording.counted(len(runs), 'run')} {reason}" for reason, runs in ordered) or "none"
