"""Splits: which image is for training, validation or test. Suffixes: N images."""

from collections.abc import Collection
from typing import Any

import numpy as np

from data_prep.distinct import Upstream, find_copies
from data_prep.labels import Labels
from data_prep.manifest import SPLITS
from data_prep.order import held_out
from data_prep.sources import Source
from data_prep.workshop import Workshop
from pipeline.errors import BadInput

LEFT_OUT = -1
"""Of an image that no split takes."""


def divide(
    source: Source,
    upstream: Upstream,
    split_N: np.ndarray,
    labels: Labels,
    shop: Workshop,
    lost: Collection[str] = (),
) -> tuple[np.ndarray, dict[str, Any]]:
    """Of the source's own splits those that are kept, int8 (N,): without copies of the test images that the workshop
    names, and with the splits that it lacks; and what the manifest says of the copies. Raises BadInput.
    """
    dedup: dict[str, Any] = {}
    if shop.against:
        copies = find_copies(upstream, split_N, shop)
        split_N[copies.rows], dedup = LEFT_OUT, copies.report
    split_N = cut(source, split_N, upstream.rows["content"], labels)
    check_classes(source, split_N, labels, lost)
    return split_N, dedup


def cut(source: Source, split_N: np.ndarray, content_N: np.ndarray, labels: Labels) -> np.ndarray:
    """The source's own splits, numbers of SPLITS or LEFT_OUT, int8 (N,); those it lacks are cut from training."""
    split_N = split_N.copy()
    lacking = [
        (code, share)
        for code, share in ((SPLITS.index("test"), source.test_share), (SPLITS.index("val"), source.val_share))
        if share and not (split_N == code).any()
    ]
    if lacking:
        train = np.flatnonzero(split_N == 0)
        side = held_out(content_N[train], labels.label[train], tuple(share for _, share in lacking))
        split_N[train] = np.array([0, *(code for code, _ in lacking)], dtype=np.int8)[side]
    return split_N


def check_classes(source: Source, split_N: np.ndarray, labels: Labels, lost: Collection[str] = ()) -> None:
    """Every class must have something to train on. ``lost``: classes of which images were skipped. Raises BadInput."""
    trained = labels.trained(split_N == 0)
    if not (split_N == 0).any():
        raise BadInput("The source has no training image: name its folder train/, or lower val_share and test_share.")
    if not trained.all():
        name = labels.classes[int(np.argmin(trained))]
        why = ", after those that cannot be read were skipped" if name in lost else ""
        raise BadInput(
            f"Class {name!r} has no training image{why}: add some, remove the class, or lower val_share and test_share."
        )
    source.check(labels.classes)
