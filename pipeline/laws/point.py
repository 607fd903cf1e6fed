"""Point: one run as the laws see it. A run is never split: its checkpoints are not points of their own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    family: str
    arch: str
    seed: int
    run: str
    """Digest of the Trial."""
    x: float
    """Compute (training FLOPs) or data (unique training samples)."""
    y: float
    """The metric; positive, lower is better."""


@dataclass(frozen=True)
class Exclusion:
    run: str
    family: str
    reason: str
