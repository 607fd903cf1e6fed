"""Copies found among images that hold planted ones: recall by kind of change, what else is reported, pairs a second.

python -m benchmarks.dedup [--cifar ARCHIVE] [--photos FOLDER] [--sheet FILE]

Test images are every second of scikit-learn's digits, every third instance of 100 fractal categories, of which ten each
are alike, CIFAR-10's test split (an archive of class folders) and windows of photos. Upstream are changed copies of
1,000 of them for each kind of change, and images that are no copies on purpose: the other digits and instances,
CIFAR-10's training split, windows half a window further. ``--sheet`` paints pairs of CIFAR-10 that were reported and
not planted, to be judged by eye: 50 at random, then the 50 least alike.
"""

import argparse
import io
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.table import show
from data_prep.dedup import Duplicate, duplicates, thumbnail
from data_prep.sources import Deferred, DigitsSource, FractalSource, ImageSource, Record, Source

PLANTED = 1000
WINDOW = 256
Change = Callable[[Image.Image], Image.Image]


@dataclass
class Corpus:
    name: str
    tests: list[Image.Image] = field(default_factory=list)
    others: list[Image.Image] = field(default_factory=list)
    """Upstream images that nobody planted."""
    test_labels: list[str] = field(default_factory=list)
    other_labels: list[str] = field(default_factory=list)

    def add(self, test: bool, image: Image.Image, label: str = "") -> None:
        (self.tests if test else self.others).append(image)
        (self.test_labels if test else self.other_labels).append(label)

    def agreement(self, found: list[Duplicate]) -> str:
        """Share of the pairs with the same label; copies have."""
        same = [self.other_labels[pair.upstream] == self.test_labels[pair.test] for pair in found]
        return f"{sum(same) / len(same):.1%}" if any(self.test_labels) else ""


def jpeg(quality: int) -> Change:
    def change(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer).convert("RGB")

    return change


def resized(factor: float, back: bool = False, filter: Image.Resampling = Image.Resampling.BILINEAR) -> Change:
    def change(image: Image.Image) -> Image.Image:
        small = image.resize((round(image.width * factor), round(image.height * factor)), filter)
        return small.resize(image.size, filter) if back else small

    return change


def flipped(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def cropped(left: float, top: float, right: float, bottom: float) -> Change:
    """Shares of the sides; the rest is brought back to size, so that parts of a pixel count too."""

    def change(image: Image.Image) -> Image.Image:
        w, h = image.size
        box = (left * w, top * h, w - right * w, h - bottom * h)
        return image.resize(image.size, Image.Resampling.BICUBIC, box=box)

    return change


def scaled(factor: float) -> Change:
    """Brightness and contrast."""
    return lambda image: image.point(lambda value: value * factor)


def chained(*changes: Change) -> Change:
    def change(image: Image.Image) -> Image.Image:
        for one in changes:
            image = one(image)
        return image

    return change


E5 = 0.05
KINDS: dict[str, Change] = {
    "as it is": lambda image: image,
    "JPEG q75": jpeg(75),
    "JPEG q50": jpeg(50),
    "half size": resized(0.5),
    "half size and back": resized(0.5, back=True),
    "0.7 size, bicubic": resized(0.7, filter=Image.Resampling.BICUBIC),
    "1.5 size": resized(1.5),
    "mirrored": flipped,
    "mirrored, JPEG q50": chained(flipped, jpeg(50)),
    "5 % off the left": cropped(E5, 0, 0, 0),
    "5 % off the bottom": cropped(0, 0, 0, E5),
    "5 % off left and top": cropped(E5, E5, 0, 0),
    "5 % off left and right": cropped(E5, 0, E5, 0),
    "5 % off every side": cropped(E5, E5, E5, E5),
    "2.5 % off every side": cropped(E5 / 2, E5 / 2, E5 / 2, E5 / 2),
    "5 % off right and bottom, mirrored, JPEG q75": chained(cropped(0, 0, E5, E5), flipped, jpeg(75)),
    "darker by a fifth": scaled(0.8),
    "half size, JPEG q50": chained(resized(0.5), jpeg(50)),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "10 % off left and top": cropped(0.1, 0.1, 0, 0),
}


def picture(record: Record) -> Image.Image:
    image = record.image.read() if isinstance(record.image, Deferred) else record.image
    return Image.fromarray(image) if isinstance(image, np.ndarray) else Image.open(io.BytesIO(image)).convert("RGB")


def drawn(name: str, source: Source, every: int) -> Corpus:
    """Every so many-th image of a source is a test image."""
    corpus = Corpus(name)
    for number, record in enumerate(source.records()):
        corpus.add(number % every == 0, picture(record), str(record.label))
    return corpus


def cifar(archive: str) -> Corpus:
    corpus = Corpus("CIFAR-10")
    for record in ImageSource(path=archive).records():
        corpus.add(record.split == "test", picture(record), str(record.label))
    return corpus


def photos(folder: str) -> Corpus:
    """Windows of each photo, its short side brought to 4 windows; the others lie half a window right and down."""
    corpus = Corpus("photos")
    for path in sorted(Path(folder).iterdir()):
        with Image.open(path) as photo:
            factor = 4 * WINDOW / min(photo.size)
            image = photo.convert("RGB").resize((round(photo.width * factor), round(photo.height * factor)))
        for first in (0, WINDOW // 2):
            for y in range(first, image.height - WINDOW + 1, WINDOW):
                for x in range(first, image.width - WINDOW + 1, WINDOW):
                    corpus.add(first == 0, image.crop((x, y, x + WINDOW, y + WINDOW)))
    return corpus


def thumbnails(images: Iterable[Image.Image]) -> np.ndarray:
    return np.stack([thumbnail(image) for image in images])


def recalls(corpus: Corpus, tests: np.ndarray) -> list[str]:
    """Of each kind of change, the share of copies reported as copies of the very image they were made from."""
    chosen = np.random.default_rng(0).permutation(len(corpus.tests))[:PLANTED]
    shares = []
    for change in KINDS.values():
        found = duplicates(thumbnails(change(corpus.tests[i]) for i in chosen), tests)
        shares.append(sum(chosen[pair.upstream] == pair.test for pair in found) / len(chosen))
    return [f"{share:.1%}" for share in shares]


def judged(corpus: Corpus, found: list[Duplicate], path: str) -> None:
    """A picture of 100 of the pairs, upstream on the left: 50 at random, then the 50 least similar."""
    side, columns = 96, 10
    width, height = 2 * side + 12, side + 12
    pairs = [found[i] for i in np.random.default_rng(0).permutation(len(found))[:50]]
    pairs += sorted(found, key=lambda pair: pair.similarity)[:50]
    sheet = Image.new("RGB", (columns * width, -(-len(pairs) // columns) * height), "white")
    for place, pair in enumerate(pairs):
        left, right = corpus.others[pair.upstream], corpus.tests[pair.test]
        x, y = place % columns * width, place // columns * height
        sheet.paste((flipped(left) if pair.mirrored else left).resize((side, side)), (x, y))
        sheet.paste(right.resize((side, side)), (x + side + 2, y))
    sheet.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dedup")
    for option in ("cifar", "photos", "sheet"):
        parser.add_argument(f"--{option}")
    given = parser.parse_args()
    corpora = [
        drawn("digits", DigitsSource(), 2),
        drawn("fractals", FractalSource(classes=100, per_class=60, closeness=0.7), 3),
    ]
    corpora += [cifar(given.cifar)] if given.cifar else []
    corpora += [photos(given.photos)] if given.photos else []
    shares, rows = [], []
    for corpus in corpora:
        tests, others = thumbnails(corpus.tests), thumbnails(corpus.others)
        shares.append(recalls(corpus, tests))
        began = time.process_time()
        found = duplicates(others, tests)
        rate = len(tests) * len(others) / (time.process_time() - began)
        counts = [f"{count:,}" for count in (len(tests), len(others), len(found))]
        rows.append([corpus.name, *counts, corpus.agreement(found), f"{rate / 1e6:,.0f} M"])
        if given.sheet and corpus.name == "CIFAR-10":
            judged(corpus, found, given.sheet)
    show(["planted", *(corpus.name for corpus in corpora)], [list(row) for row in zip(KINDS, *shares, strict=True)])
    print()
    show(["not planted", "test images", "upstream", "reported", "same class", "pairs per core-second"], rows)


if __name__ == "__main__":
    main()
