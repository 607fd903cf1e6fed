"""Clusters: which points belong to one run, and which runs to one configuration.

Points of one run (its checkpoints) share their noise, and so do runs of one configuration where a law does not hold
exactly. Only configurations are independent, so uncertainty counts them and never the points.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import BadInput
from pipeline.laws.forms import Array

SAME = 9
"""Decimals of ln x at which two places are one."""


@dataclass(frozen=True)
class Clusters:
    """``run`` and ``config`` [n] are indices of each point into the sorted names; a run lies in one configuration."""

    run: np.ndarray
    config: np.ndarray
    runs: tuple[str, ...]
    configs: tuple[str, ...]
    single: bool
    """Every configuration is at one place of the axes, so that its runs are repeats."""

    @classmethod
    def of(cls, logs: Array, runs: Sequence[object] | None, configs: Sequence[object] | None) -> "Clusters":
        """From ln x [n, d]. Without ``runs`` each point is a run; without ``configs`` runs at the same places are one.

        Configurations that a run links (a trunk with branches) count as one. Raises BadInput for another length.
        """
        count = len(logs)
        for name, given in (("runs", runs), ("configs", configs)):
            if given is not None and len(given) != count:
                raise BadInput(f"There are {count} points and {len(given)} {name}: give one for each point.")
        place = [" ".join(f"{value:.{SAME}g}" for value in row) for row in logs]
        run_names = _numbered(place) if runs is None else [str(name) for name in runs]
        labels, run = np.unique(run_names, return_inverse=True)
        if configs is None:
            here = [sorted({place[i] for i in np.flatnonzero(run == r)}) for r in range(len(labels))]
            config_names = ["; ".join(here[r]) for r in run]
        else:
            config_names = [str(name) for name in configs]
        named, config = _linked(run, config_names)
        places = {(int(c), p) for c, p in zip(config, place, strict=True)}
        return cls(run, config, tuple(map(str, labels)), named, len(places) == len(named))

    @property
    def count(self) -> int:
        return len(self.configs)

    def rows(self) -> list[np.ndarray]:
        """The points of each configuration."""
        return [np.flatnonzero(self.config == c) for c in range(self.count)]

    def only(self, kept: np.ndarray) -> "Clusters":
        """Those of the points ``kept`` (indices)."""
        runs, run = np.unique(self.run[kept], return_inverse=True)
        configs, config = np.unique(self.config[kept], return_inverse=True)
        names = tuple(self.runs[i] for i in runs), tuple(self.configs[i] for i in configs)
        return Clusters(run, config, *names, self.single)

    def apart(self) -> "Clusters":
        """The same points, each as a run and configuration of its own."""
        index = np.arange(len(self.run))
        names = tuple(str(i) for i in index)
        return Clusters(index, index, names, names, True)


def _numbered(place: list[str]) -> list[str]:
    """A name for each point: its place, and the how-manieth it is there."""
    seen: dict[str, int] = {}
    out = []
    for name in place:
        seen[name] = seen.get(name, 0) + 1
        out.append(f"{name} #{seen[name]}")
    return out


def _linked(run: np.ndarray, names: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and index [n] of the configurations, those with a run in common joined under the first name."""
    labels, config = np.unique(names, return_inverse=True)
    while True:
        first = np.full(run.max() + 1, len(labels))
        np.minimum.at(first, run, config)
        least = np.arange(len(labels))
        np.minimum.at(least, config, first[run])
        joined = least[config]
        if np.array_equal(joined, config):
            kept, index = np.unique(config, return_inverse=True)
            return tuple(str(labels[k]) for k in kept), index
        config = joined
