"""Real handwritten digits (Alpaydin & Kaynak 1998), 1,797 of 8x8, as they come in scikit-learn's wheel."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from data_prep.sources.base import Record, Source
from pipeline.subset import Dataset

PER_CLASS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)


@dataclass
class DigitsSource(Source):
    """Grey levels 0..16 become 0..255; the 8x8 pixels are enlarged bilinearly to ``image_size``."""

    kind: ClassVar[str] = "digits"
    val_share: float = 0.0
    test_share: float = 0.5

    def records(self) -> Iterator[Record]:
        import numpy as np
        from PIL import Image
        from sklearn.datasets import load_digits

        grey_NHW, target_N = load_digits(return_X_y=True)
        side = (self.image_size, self.image_size)
        for number, (flat, label) in enumerate(zip(np.asarray(grey_NHW), np.asarray(target_N), strict=True)):
            grey = Image.fromarray(np.rint(flat.reshape(8, 8) * 255 / 16).astype(np.uint8))
            large = np.asarray(grey.resize(side, Image.Resampling.BILINEAR))
            yield Record("train", str(label), large, f"digit {number}")

    def facts(self, name: str) -> Dataset:
        return self.cut_facts(name, PER_CLASS)
