"""Task: a downstream data set and the protocols under which finished pre-trainings are taken to it."""

import math
from dataclasses import dataclass, field
from enum import Enum

from pipeline.errors import BadInput, nearest
from pipeline.recipe import KIND_NAMES, MomentumDtype
from pipeline.subset import Dataset
from pipeline.trial import FewShot, FineTune, Protocol


class Parents(Enum):
    """Which pre-trained models a task takes: every one, or those of the largest budget and data size."""

    all = "all"
    largest = "largest"


@dataclass
class Task:
    """A downstream task: which data, which protocols, from which parents. Its images may be of another size than the
    parents': position embeddings are interpolated to it."""

    data: str = ""
    archs: list[str] = field(default_factory=list)
    """Presets whose models take part; empty is every arch of the study."""
    parents: Parents = Parents.all
    shots: list[int] = field(default_factory=list)
    """Few-shot least squares, images per class; empty leaves the protocol out."""
    finetune_steps: int = 0
    """Fine-tuning steps; 0 leaves the protocol out."""
    finetune_lr: float = 0.03
    finetune_lrs: list[float] = field(default_factory=list)
    """A grid in place of ``finetune_lr``. Each rate is a trial; the report shows the one best on the dev split."""
    finetune_lrs_family: dict[str, list[float]] = field(default_factory=dict)
    """Further rates of the grid for one family."""
    finetune_batch_size: int = 64
    finetune_warmup_steps: int | None = None
    """None is a tenth of the steps."""
    finetune_momentum_dtype: MomentumDtype = MomentumDtype.fp32
    finetune_crop_area: float = 0.0
    """As in a recipe; 0 leaves the images uncropped."""
    finetune_flip: bool = False
    """Off, because digits may not be mirrored."""
    finetune_samples: int = 0
    """Training images for fine-tuning; 0 is all."""
    seeds: list[int] = field(default_factory=lambda: [0])

    def __post_init__(self) -> None:
        rates = [
            self.finetune_lr,
            *self.finetune_lrs,
            *(r for listed in self.finetune_lrs_family.values() for r in listed),
        ]
        for family in self.finetune_lrs_family:
            if family not in KIND_NAMES:
                raise BadInput(f"study.tasks.*.finetune_lrs_family has no {family!r}: {nearest(family, KIND_NAMES)}")
        for rate in rates:
            if not (rate > 0 and math.isfinite(rate)):
                raise BadInput(f"study.tasks.*.finetune_lr and finetune_lrs must be positive numbers, not {rate}.")
        if self.finetune_steps < 0 or self.finetune_batch_size < 1:
            raise BadInput(
                "study.tasks.*.finetune_steps must not be negative and finetune_batch_size be positive, not "
                f"{self.finetune_steps} and {self.finetune_batch_size}."
            )
        if self.finetune_warmup_steps is not None and self.finetune_warmup_steps < 0:
            raise BadInput(f"study.tasks.*.finetune_warmup_steps must not be negative: {self.finetune_warmup_steps}.")
        if not 0.0 <= self.finetune_crop_area <= 1.0:
            raise BadInput(f"study.tasks.*.finetune_crop_area lies between 0 and 1, not {self.finetune_crop_area}.")

    def protocols(self, family: str, target: Dataset, where: str) -> list[Protocol]:
        """What a parent of this family does. Raises BadInput when the data set has too few images for it."""
        if self.shots and target.multilabel:
            raise BadInput(
                f"{where}.shots needs images of one class each, but those of {target.name} have several: fine-tune."
            )
        for shots in self.shots:
            if shots < 1 or shots * target.classes > target.samples:
                raise BadInput(
                    f"{where}.shots asks for {shots} images of each of {target.classes} classes, but {target.name} "
                    f"has {target.samples:,} training images."
                )
        few: list[Protocol] = [FewShot(shots) for shots in self.shots]
        if not self.finetune_steps:
            return few
        samples = target.prefix(self.finetune_samples, f"{where}.finetune_samples")
        rates = [*(self.finetune_lrs or [self.finetune_lr]), *self.finetune_lrs_family.get(family, [])]
        return few + [
            FineTune(
                steps=self.finetune_steps,
                lr=rate,
                batch_size=self.finetune_batch_size,
                samples=0 if samples == target.samples else samples,
                warmup_steps=self.finetune_warmup_steps,
                momentum_dtype=self.finetune_momentum_dtype,
                crop_area=self.finetune_crop_area,
                flip=self.finetune_flip,
            )
            for rate in dict.fromkeys(rates)
        ]
