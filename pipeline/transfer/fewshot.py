"""Few-shot least squares on frozen features (arXiv 2010.11929, section 4.1; details as in the official evaluator).

Features are whitened by the training mean and standard deviation, a constant 100 is appended so that the bias is
almost free of the penalty, targets are 2 one-hot - 1, and (X'X + l2 I)^-1 X'Y is solved in closed form.

Suffixes: N images, D representation, K classes.
"""

import numpy as np

BIAS = 100.0


def draw(labels_N: np.ndarray, shots: int, classes: int, seed: int) -> np.ndarray:
    """Positions of ``shots`` images of each class, a pure function of the seed; fewer shots are a prefix of more."""
    generator = np.random.Generator(np.random.Philox(seed))
    order = generator.permutation(len(labels_N))
    chosen = [order[labels_N[order] == k][:shots] for k in range(classes)]
    return np.concatenate(chosen)


def solve(features_ND: np.ndarray, labels_N: np.ndarray, classes: int, l2: float) -> tuple[np.ndarray, ...]:
    """(weights (D + 1, K), mean (D,), scale (D,)) of the ridge solution."""
    mean_D, scale_D = features_ND.mean(0), features_ND.std(0) + 1e-5
    x_ND = _whiten(features_ND, mean_D, scale_D)
    y_NK = 2.0 * np.eye(classes)[labels_N] - 1.0
    if x_ND.shape[0] >= x_ND.shape[1]:
        weights = np.linalg.solve(x_ND.T @ x_ND + l2 * np.eye(x_ND.shape[1]), x_ND.T @ y_NK)
    else:
        weights = x_ND.T @ np.linalg.solve(x_ND @ x_ND.T + l2 * np.eye(x_ND.shape[0]), y_NK)
    return weights, mean_D, scale_D


def error(solution: tuple[np.ndarray, ...], features_ND: np.ndarray, labels_N: np.ndarray) -> float:
    """Share of wrong predictions."""
    weights, mean_D, scale_D = solution
    predicted_N = (_whiten(features_ND, mean_D, scale_D) @ weights).argmax(1)
    return float((predicted_N != labels_N).mean())


def _whiten(features_ND: np.ndarray, mean_D: np.ndarray, scale_D: np.ndarray) -> np.ndarray:
    x_ND = (features_ND - mean_D) / scale_D
    return np.concatenate([x_ND, np.full((len(x_ND), 1), BIAS)], axis=1)
