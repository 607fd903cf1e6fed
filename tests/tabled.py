"""A table of two families, and the document of its fit as strict JSON."""

import json
from typing import Any

import numpy as np


def families(noise: float = 0.01, seed: int = 0) -> dict[str, Any]:
    """cnn leads at little compute, vit at much; the truths cross at 1e20."""
    random = np.random.default_rng(seed)
    c = np.repeat(np.geomspace(1e18, 1e22, 9), 2)
    laws = {"vit": 1.0 + 2.0 * (c / 1e20) ** -0.30, "cnn": 2.0 + 1.0 * (c / 1e20) ** -0.45}
    y = np.concatenate([law * np.exp(noise * random.standard_normal(len(c))) for law in laws.values()])
    return {
        "C": np.tile(c, 2),
        "loss": y,
        "family": np.repeat(list(laws), len(c)),
        "seed": np.tile([0, 1], len(c)),
    }


def plain(document: Any) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no strict JSON")

    return json.loads(document.to_json(), parse_constant=refuse)
