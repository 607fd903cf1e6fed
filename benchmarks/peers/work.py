"""Work: the images that every loader reads, and what it makes of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torchvision.transforms import v2

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Work:
    folder: Path
    """Holds ``files`` (class folders) and beside them what each loader made of them."""
    size: int
    batch: int
    output: str = "float32"
    """Normalised float32, or uint8 as it was cut."""

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def small(self) -> bool:
        """Images of 32 px are padded by 4 and cut; photos are cut at random places and scales."""
        return self.size <= 64

    def samples(self) -> list[tuple[Path, int]]:
        """Files and labels, class by class."""
        classes = sorted(p for p in self.files.iterdir() if p.is_dir())
        return [(path, label) for label, folder in enumerate(classes) for path in sorted(folder.iterdir())]

    def transform(self) -> Callable[[Any], torch.Tensor]:
        """torchvision's, of a PIL image or of a uint8 tensor (C, H, W)."""
        crop = v2.RandomCrop(self.size, padding=4) if self.small else v2.RandomResizedCrop(self.size, (0.08, 1.0))
        steps: list[Any] = [crop, v2.RandomHorizontalFlip(), v2.ToImage()]
        if self.output == "float32":
            steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
        return v2.Compose([*steps, v2.ToPureTensor()])
