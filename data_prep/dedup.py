"""Dedup: images of a training set that are copies of test images, however re-encoded, resized, mirrored or trimmed.

A thumbnail of 768 bytes is kept of every image. Its features are its low frequencies (cosine transform), raised by
frequency^0.75, since the higher they are the fainter they are in photographs, and scaled to unit length: their product
is a correlation, which brightness and contrast do not change. Until scaled they are linear in the pixels, and so are
those of any trim of the image. Copies are found in two steps. One product of all pairs proposes, mirrored ones at no
cost: of a mirror image the even horizontal frequencies are the same and the odd ones change sign, so the better of the
two is even + |odd|. Then each proposal is compared at the alignments that trims of up to 5 % of either image make.

Suffixes: N upstream images, M test images, B pairs, R rows of a block, S side, F features.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from PIL import Image

from pipeline.errors import BadInput

SIDE = 16
SIMILAR = 0.92
"""Least similarity of a copy, once aligned. Of the pairs of CIFAR-10's training and test images that reach it, 50 of 50
at random and 45 of the 50 least similar are copies by eye (docs/deduplication.md)."""
PROPOSED = 0.72
"""Least similarity of a proposal, not yet aligned. Of copies of CIFAR-10's images that lack 5 % of one to four sides
99.9 % reach it, and of all pairs one in 29,000."""
TRIM = 0.05
"""Share of a side that a copy may lack."""
LUMA, CHROMA = 8, 4
"""Frequencies per axis; fewer of colour, of which JPEG keeps half the resolution."""
LUMA_POWER, CHROMA_POWER, CHROMA_WEIGHT = 0.75, 0.5, 4.0
NOISE = 4000.0
"""Added to the squared length of features: what is flat, or a gradient of a few grey levels, is like nothing."""
CONTENDERS = 8
"""Proposals per upstream image that are aligned, at most."""
ROUNDING = 1e-4
"""Of single precision, in which proposals are aligned first; the rest is in double, so that machines agree."""
ROWS, COLUMNS = 1024, 512
"""Upstream and test images of a block: its products stay in the cache."""

Box = tuple[float, float, float, float]
"""Share cut off left, right, top and bottom; below 0 the image goes on as its own mirror image."""
WHOLE: Box = (0.0, 0.0, 0.0, 0.0)
PROBES: tuple[Box, ...] = tuple((cut, cut, cut, cut) for cut in (TRIM / 2, -TRIM / 2))
"""Of the test images, in the product of all pairs: one of them is near every trim of either image."""
CUTS = ((0.0, 0.0), (TRIM, 0.0), (0.0, TRIM), (TRIM / 2, TRIM / 2), (TRIM, TRIM))
ALIGNMENTS: tuple[Box, ...] = tuple((*x, *y) for x in CUTS for y in CUTS)

YCC = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])


def _weights() -> np.ndarray:
    """(3, LUMA, LUMA): of a channel's vertical and horizontal frequencies; 0 for the mean and for what is not kept."""
    frequency = np.hypot(*np.mgrid[:LUMA, :LUMA])
    luma, chroma = frequency**LUMA_POWER, CHROMA_WEIGHT * frequency**CHROMA_POWER
    chroma[CHROMA:] = chroma[:, CHROMA:] = 0
    return np.stack([luma, chroma, chroma])


WEIGHTS = _weights()
KEPT = np.flatnonzero(WEIGHTS)
EVEN = int((KEPT % 2 == 0).sum())
KEPT = KEPT[np.argsort(KEPT % 2, kind="stable")]
"""Places of the features in WEIGHTS: first the EVEN ones of even horizontal frequency."""


class Duplicate(NamedTuple):
    upstream: int
    test: int
    similarity: float
    mirrored: bool


def thumbnail(image: Image.Image | np.ndarray) -> np.ndarray:
    """uint8 (S, S, 3), each pixel the mean of its area. Takes uint8 (H, W) or (H, W, 3), or what converts to RGB."""
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    return np.asarray(picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))


def duplicates(
    upstream: np.ndarray, tests: np.ndarray, similar: float = SIMILAR, proposed: float = PROPOSED
) -> list[Duplicate]:
    """The upstream images that are copies of a test image, in their order, each with the test image most like it.

    Thumbnails, uint8 (N, S, S, 3) and (M, S, S, 3). Upstream may be a memory map, of which a block is read at a time;
    memory grows with M, by 0.8 kB each. What is found of an image does not depend on the rest of upstream. Raises
    BadInput for arrays of another kind.
    """
    _check(upstream, "upstream")
    _check(tests, "test")
    if not len(tests):
        return []
    tiles = [
        [_features(tests[start : start + COLUMNS], box) for box in PROBES] for start in range(0, len(tests), COLUMNS)
    ]
    found: list[Duplicate] = []
    for start in range(0, len(upstream), ROWS):
        block = np.asarray(upstream[start : start + ROWS])
        row_B, test_B = _proposals(_features(block), tiles, proposed)
        near = _aligned(block[row_B], tests[test_B], np.float32)[0] >= similar - ROUNDING
        row_B, test_B = row_B[near], test_B[near]
        similarity_B, mirrored_B = _aligned(block[row_B], tests[test_B], np.float64)
        for b in np.flatnonzero((_rank(row_B, similarity_B) == 0) & (similarity_B >= similar)).tolist():
            pair = (start + int(row_B[b]), int(test_B[b]), float(similarity_B[b]), bool(mirrored_B[b]))
            found.append(Duplicate(*pair))
    return found


def _check(thumbnails: np.ndarray, name: str) -> None:
    if thumbnails.dtype != np.uint8 or thumbnails.shape[1:] != (SIDE, SIDE, 3):
        raise BadInput(
            f"The {name} thumbnails are {thumbnails.dtype} {thumbnails.shape}, not uint8 (images, {SIDE}, {SIDE}, 3): "
            "make them with data_prep.dedup.thumbnail."
        )


def _cosines(low: float, high: float) -> np.ndarray:
    """(S, S): the orthonormal cosines, by frequency, at the pixels of what two cuts leave of a side."""
    k, place = np.arange(SIDE)[:, None], (np.arange(SIDE) + 0.5) / SIDE
    return np.sqrt(np.where(k == 0, 1, 2) / SIDE) * np.cos(np.pi * k * (low + place * (1 - low - high)))


@cache
def _projection(box: Box, dtype: type) -> np.ndarray:
    """(S * S * 3, F): from the pixels of a thumbnail to the features, not yet scaled, of what the box leaves of it."""
    whole = _cosines(0, 0)
    across, down = (whole[:LUMA] @ _cosines(*cut).T @ whole for cut in (box[:2], box[2:]))
    linear = np.einsum("ckl,kh,lw,cd->hwdckl", WEIGHTS, down, across, YCC, optimize=True)
    return linear.reshape(SIDE * SIDE * 3, -1)[:, KEPT].astype(dtype)


def _features(thumbnails: np.ndarray, box: Box = WHOLE, dtype: type = np.float32) -> np.ndarray:
    """(N, F), of at most unit length."""
    linear_NF = thumbnails.reshape(-1, SIDE * SIDE * 3).astype(dtype, copy=False) @ _projection(box, dtype)
    return linear_NF / np.sqrt((linear_NF**2).sum(axis=1, keepdims=True) + NOISE)


def _proposals(block_RF: np.ndarray, tiles: list[list[np.ndarray]], proposed: float) -> tuple[np.ndarray, np.ndarray]:
    """Row of the block and test image of the pairs worth aligning, (B,) each, by row."""
    parts = [_nearest(block_RF, probes, proposed) for probes in tiles]
    row_B = np.concatenate([row for row, _, _ in parts])
    test_B = np.concatenate([column + number * COLUMNS for number, (_, column, _) in enumerate(parts)])
    best = _rank(row_B, np.concatenate([like for _, _, like in parts])) < CONTENDERS
    order = np.argsort(row_B[best], kind="stable")
    return row_B[best][order], test_B[best][order]


def _nearest(
    block_RF: np.ndarray, probes: list[np.ndarray], proposed: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row, column and similarity of the pairs that reach ``proposed``, of each row the CONTENDERS best."""
    like_RC = np.maximum(*(_either(block_RF, probe_CF) for probe_CF in probes))
    row = np.flatnonzero(like_RC.max(axis=1) >= proposed)
    best = min(CONTENDERS, like_RC.shape[1])
    column = np.argpartition(like_RC[row], -best, axis=1)[:, -best:].ravel()
    row = row.repeat(best)
    like = like_RC[row, column]
    return row[like >= proposed], column[like >= proposed], like[like >= proposed]


def _rank(row_B: np.ndarray, like_B: np.ndarray) -> np.ndarray:
    """Of each pair among those of its row, 0 for the most similar, (B,)."""
    order = np.lexsort((-like_B, row_B))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.searchsorted(row_B[order], row_B[order])
    return rank


def _either(a_RF: np.ndarray, b_CF: np.ndarray) -> np.ndarray:
    """(R, C): the similarity of each pair, or of one with the mirror image of the other if that is greater."""
    odd_RC = a_RF[:, EVEN:] @ b_CF[:, EVEN:].T
    np.abs(odd_RC, out=odd_RC)
    odd_RC += a_RF[:, :EVEN] @ b_CF[:, :EVEN].T
    return odd_RC


def _aligned(upstream_BSSC: np.ndarray, tests_BSSC: np.ndarray, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Similarity of each pair at its best alignment, and whether mirrored there, (B,) each."""
    upstream_BSSC, tests_BSSC = upstream_BSSC.astype(dtype), tests_BSSC.astype(dtype)
    upstream_BF, tests_BF = (_features(images, WHOLE, dtype) for images in (upstream_BSSC, tests_BSSC))
    best_B, mirrored_B = np.full(len(upstream_BF), -1.0), np.zeros(len(upstream_BF), dtype=bool)
    for box in ALIGNMENTS:
        for trimmed, whole_BF in ((upstream_BSSC, tests_BF), (tests_BSSC, upstream_BF)):
            product_BF = _features(trimmed, box, dtype) * whole_BF
            odd_B = product_BF[:, EVEN:].sum(axis=1)
            like_B = product_BF[:, :EVEN].sum(axis=1) + np.abs(odd_B)
            mirrored_B = np.where(like_B > best_B, odd_B < 0, mirrored_B)
            best_B = np.maximum(best_B, like_B)
    return best_B, mirrored_B
