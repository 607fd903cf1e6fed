"""Frontier: of a family's runs, those that nothing cheaper beats. One law per family is fitted to it."""

import numpy as np

from pipeline.laws.point import Point


def groups(points: list[Point]) -> np.ndarray:
    """Index of each point's configuration: (arch, x). Seeds of one configuration share it."""
    keys = sorted({(p.x, p.arch) for p in points})
    place = {key: i for i, key in enumerate(keys)}
    return np.array([place[p.x, p.arch] for p in points])


def on_frontier(
    x: np.ndarray, log_y: np.ndarray, group: np.ndarray, weights: np.ndarray, level_x: bool
) -> np.ndarray:
    """Mask (draws, n) of the points whose configuration is on the lower envelope of its draw.

    ``log_y`` and ``weights`` are (draws, n); a configuration counts by its weighted mean. On the compute axis
    (``level_x`` false) it must beat everything cheaper; on the data axis only its equals at the same x.
    """
    count = group.max() + 1
    place = np.eye(count)[group]  # (n, configurations)
    total = weights @ place
    mean = np.divide((weights * log_y) @ place, total, out=np.full(total.shape, np.inf), where=total > 0)
    config_x = np.array([x[group == c][0] for c in range(count)])
    order = np.argsort(config_x, kind="stable")
    best = np.full(len(mean), np.inf)
    kept = np.zeros_like(mean, dtype=bool)
    for value in np.unique(config_x):
        same = order[config_x[order] == value]
        here = mean[:, same].min(1)
        floor = np.full(len(mean), np.inf) if level_x else best
        kept[:, same] = (mean[:, same] <= here[:, None]) & (mean[:, same] < floor[:, None])
        best = np.minimum(best, here)
    return kept[:, group] & (weights > 0)
