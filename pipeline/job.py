"""Job: one Segment with all a worker needs to run it, whoever the worker is. Plain data, no torch."""

from dataclasses import dataclass

from pipeline.placement import Placement
from pipeline.plan import Segment
from pipeline.store import Store
from pipeline.subset import Dataset, OnBadSample
from pipeline.trial import FineTune, Pretrain


@dataclass(frozen=True)
class Home:
    """A prepared data set: its facts and its folder."""

    dataset: Dataset
    folder: str
    on_bad_sample: OnBadSample = OnBadSample.fail


@dataclass(frozen=True)
class Job:
    segment: Segment
    homes: dict[str, Home]
    """By dataset id."""
    store: Store
    placement: Placement
    study: str
    device: str
    """Name in the device table, kept with the cost."""
    stop_key: str = ""
    """When this key appears in the store, save and stop."""

    @property
    def is_gang(self) -> bool:
        """Whether several workers train it; few-shot has nothing to train."""
        trial = self.segment.planned.trial
        trains = isinstance(trial, Pretrain) or isinstance(trial.protocol, FineTune)
        return trains and self.placement.workers_per_trial > 1


@dataclass(frozen=True)
class Report:
    """What the driver hears back: small, the rest is in the store."""

    key: str
    outcome: str
    """done, diverged, busy (another driver holds it) or interrupted."""
    reason: str = ""
    seconds: float = 0.0
    """Device-seconds of this attempt's training and evaluation."""
    data_wait: float = 0.0
    """Share of the training's time that was spent waiting for data."""
