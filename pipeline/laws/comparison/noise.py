"""Noise: how far a run may fall from its law, from the scatter of seeds and the scatter of points together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.laws.forms import Array
from pipeline.laws.points import Cell


@dataclass(frozen=True)
class Noise:
    """Standard deviations of ln y. A draw moves each run as a whole by ``shift`` and each cell by ``point``."""

    point: float
    """Of one run at one place, the part that differs from place to place."""
    dof: int
    shift: float
    """Of one run (an arch and a seed), the part all its places share; 0 when no seed was repeated."""
    shift_dof: int
    within: float
    """``point`` from the seeds alone."""
    within_dof: int
    misfit: bool
    """The points scatter about the law more than the seeds explain (F test at 5 %)."""

    def within_only(self) -> "Noise":
        """The noise of the measured means, whatever a law makes of them."""
        return replace(self, point=self.within, dof=max(1, self.within_dof))


def measure(cells: Sequence[Cell], residuals: Array, fitted: np.ndarray, parameters: int) -> Noise:
    """``residuals`` [c] are cell means minus the law, used where ``fitted`` [c] is true (nowhere: seeds alone).

    Within a place, the runs' differences split into what a run keeps at all its places and the rest. The rest is
    pooled with the residuals unless they are significantly larger (Draper and Smith 1998, section 2.1, lack of fit).
    """
    rows = [(c.arch, s, y - c.value) for c in cells for s, y in zip(c.seeds, c.logs, strict=True)]
    tracks: dict[tuple[str, int], list[float]] = {}
    for arch, seed, gap in rows:
        tracks.setdefault((arch, seed), []).append(gap)
    common = {key: float(np.mean(gaps)) for key, gaps in tracks.items()}
    shift_dof = len(tracks) - len({arch for arch, _ in tracks})
    within_dof = max(0, len(rows) - len(cells) - shift_dof)
    squares = sum((gap - common[arch, seed]) ** 2 for arch, seed, gap in rows)
    within = squares / within_dof if within_dof else 0.0
    runs = np.array([len(c.runs) for c in cells], dtype=float)
    about = float((runs * residuals**2)[fitted].sum())
    about_dof = max(1, int(np.count_nonzero(fitted)) - parameters)
    misfit = within_dof > 0 and _rejects(about / about_dof, within, about_dof, within_dof)
    variance, dof = about / about_dof, about_dof
    if within_dof and not misfit:
        dof = about_dof + within_dof
        variance = (about + squares) / dof
    shift = 0.0
    if shift_dof:
        places = float(np.mean([len(gaps) for gaps in tracks.values()]))
        raw = sum(c * c for c in common.values()) / shift_dof
        shift = float(np.sqrt(max(0.0, raw - (within if within_dof else variance) / places)))
    return Noise(float(np.sqrt(variance)), dof, shift, shift_dof, float(np.sqrt(within)), within_dof, misfit)


def _rejects(between: float, within: float, between_dof: int, within_dof: int) -> bool:
    from scipy.special import fdtrc

    if within <= 1e-24:
        return between > 1e-18
    return bool(fdtrc(between_dof, within_dof, between / within) < 0.05)
