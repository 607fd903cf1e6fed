"""Real handwritten digits (Alpaydin & Kaynak 1998), 1,797 of 8x8, as they come in scikit-learn's wheel."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from data_prep.sources.base import Record, Source, cut
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

        digits = load_digits()
        side = (self.image_size, self.image_size)
        for i, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            grey = Image.fromarray(np.rint(image * 255 / 16).astype(np.uint8))
            large = np.asarray(grey.resize(side, Image.Resampling.BILINEAR))
            yield Record("train", str(label), large, f"digit {i}")

    def facts(self, name: str) -> Dataset:
        val = sum(cut(n, self.val_share) for n in PER_CLASS)
        test = sum(cut(n, self.test_share) for n in PER_CLASS)
        return Dataset(
            name,
            f"unprepared:{self.fingerprint()}",
            sum(PER_CLASS) - val - test,
            len(PER_CLASS),
            self.image_size,
            3,
            val,
            test,
        )
