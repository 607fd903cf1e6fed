"""Data sets by their names in torchvision.datasets: the user's copy, or fetched when the user says so.

Files keep their bytes, for torchvision is given a loader that only notes where they are; arrays are kept lossless. The
splits are those of the table below, never torchvision's defaults. CIFAR is read by our own unpickler, which knows
arrays only.
"""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from data_prep.sources import cifar
from data_prep.sources.base import Record
from data_prep.sources.deferred import FileImage
from data_prep.sources.files import DOWNLOADS, FileSource
from pipeline.errors import BadInput, nearest


def _split(**theirs: str) -> dict[str, dict[str, Any]]:
    return {ours: {"split": name} for ours, name in theirs.items()}


SPLITS: dict[str, dict[str, dict[str, Any]]] = {
    name: arguments
    for names, arguments in (
        ("Caltech101 Caltech256 EuroSAT FakeData Omniglot SEMEION SUN397", {"train": {}}),
        (
            "CIFAR10 CIFAR100 EMNIST FashionMNIST KMNIST MNIST QMNIST USPS",
            {"train": {"train": True}, "test": {"train": False}},
        ),
        ("FER2013 Food101 GTSRB LFWPeople STL10 SVHN StanfordCars", _split(train="train", test="test")),
        ("DTD FGVCAircraft Flowers102 PCAM RenderedSST2", _split(train="train", val="val", test="test")),
        ("CelebA Country211", _split(train="train", val="valid", test="test")),
        ("ImageNet Imagenette", _split(train="train", val="val")),
        ("Places365", _split(train="train-standard", val="val")),
        ("OxfordIIITPet", _split(train="trainval", test="test")),
        ("CLEVRClassification", _split(train="train", test="val")),  # its own test images have no labels
        ("INaturalist", {"train": {"version": "2021_train"}, "test": {"version": "2021_valid"}}),
    )
    for name in names.split()
}
"""The arguments that give each split; what torchvision does not split is cut by the shares."""
UNSORTED = ("INaturalist", "Omniglot", "SUN397")
"""Listed in whatever order the file system has."""
UNPICKLED = {"CIFAR10": "cifar-10-batches-py", "CIFAR100": "cifar-100-python"}
"""Those that torchvision would unpickle, and where they lie."""
WITHOUT_FILES = ("FakeData",)
TARGETS = ("target_type", "target_types")
"""Options after which a label is a number of another list than the classes."""


@dataclass
class TorchvisionSource(FileSource):
    """``dataset`` as torchvision lays it out below ``path``."""

    kind: ClassVar[str] = "torchvision"
    elsewhere: ClassVar[tuple[str, ...]] = (*FileSource.elsewhere, "download")
    dataset: str = ""
    """Name of a class of torchvision.datasets that classifies images."""
    download: bool = False
    """Let torchvision fetch it into ``path`` (default: downloads/) when it is not there."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of the class, such as ``partition: 2`` of DTD. One that chooses a split gives that alone."""

    def records(self) -> Iterator[Record]:
        splits = _splits(self.dataset, self.options)
        root = Path(self.path or DOWNLOADS).expanduser()
        if self.download:
            fetch(self.dataset, root, self.options)
        elif self.dataset not in WITHOUT_FILES:
            root = self.located("FOLDER as torchvision lays it out", " or data.NAME.download=true")
        if self.dataset in UNPICKLED:
            yield from cifar.records(_cifar(self.dataset, root))
            return
        for split, arguments in splits.items():
            yield from self._read(split, _build(self.dataset, root, {**arguments, **self.options}))

    def _read(self, split: str, built: Any) -> Iterator[Record]:
        names = None if any(key in self.options for key in TARGETS) else _names(built)
        items = _items(built)
        if self.dataset in UNSORTED:
            items = iter(sorted(items, key=lambda item: item[0].path))
        number = 0
        try:
            for number, (image, target) in enumerate(items):
                yield Record(split, _label(target, names), image, f"{self.dataset} {split} {number}")
        except Exception as error:  # each class has its own way to fail
            where = f"image {number} of {self.dataset}'s {split} split"
            raise BadInput(f"torchvision cannot read {where} ({_reason(error)}): fetch the data set again.") from error

    def is_absent(self) -> bool:
        return not self.download and super().is_absent()

    def content(self) -> dict[str, Any]:
        return {} if self.download else super().content()  # torchvision checks what it fetches


def fetch(name: str, root: Path, options: dict[str, Any]) -> None:
    """Let torchvision download what is not there. Raises BadInput."""
    for arguments in _splits(name, options).values():
        if name not in WITHOUT_FILES:
            _build(name, root, {**arguments, **options}, download=True)


def own_folder(name: str, root: Path) -> Path:
    """Where a data set lies that has a folder to itself below ``root``; others may lie beside it."""
    own = root / UNPICKLED.get(name, name)
    return own if own.is_dir() else root


def _cifar(name: str, root: Path) -> Path:
    """The folder or the archive of this one of the two. Raises BadInput when it is the other, or none."""
    own = own_folder(name, root)
    archive = UNPICKLED[name].replace("batches-py", "python")
    if own.name != UNPICKLED[name] and not (own.is_file() and own.name.startswith(archive)):
        raise BadInput(f"{root} holds no {UNPICKLED[name]}: give the folder it lies in, or data.NAME.download=true.")
    return own


def _splits(name: str, options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The arguments of each split. Raises BadInput for what torchvision does not have."""
    import torchvision.datasets

    if not name:
        raise BadInput("Name a class of torchvision.datasets, such as data.NAME.dataset=DTD.")
    if name not in SPLITS:
        lacking = "has no" if name not in torchvision.datasets.__all__ else "has no labelled images in its"
        raise BadInput(f"torchvision.datasets {lacking} {name!r}: {nearest(name, SPLITS)}")
    chosen = SPLITS[name]
    return {"train": {}} if any(key in options for arguments in chosen.values() for key in arguments) else chosen


def _build(name: str, root: Path, arguments: dict[str, Any], download: bool = False) -> Any:
    """torchvision's object; nothing is fetched unless ``download``, whatever its own default. Raises BadInput."""
    import torchvision.datasets

    builder = getattr(torchvision.datasets, name)
    known = _parameters(builder)
    for key in arguments:
        if key not in known:
            raise BadInput(f"torchvision's {name} has no option {key!r}: {nearest(key, known - {'self', 'kwargs'})}")
    if download and "download" not in known:
        raise BadInput(f"torchvision cannot fetch {name}: give data.NAME.path=FOLDER as it lays it out.")
    own = {"root": str(root), "download": download, "loader": _noted}
    try:
        return builder(**{key: value for key, value in own.items() if key in known}, **arguments)
    except Exception as error:  # each class has its own way to fail
        what = f"fetch {name} into" if download else f"read {name} in"
        mend = "mend that" if download else "give data.NAME.path=FOLDER as it lays it out, or data.NAME.download=true"
        raise BadInput(f"torchvision cannot {what} {root} ({_reason(error)}): {mend}.") from error


def _parameters(builder: type) -> set[str]:
    """Those of the constructor, and of those it passes keywords on to."""
    known: set[str] = set()
    for base in builder.__mro__:
        parameters = inspect.signature(base.__init__).parameters  # type: ignore[misc]
        known |= set(parameters)
        if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values()):
            break
    return known


def _noted(path: str | Path) -> FileImage:
    """In the place of torchvision's loader."""
    return FileImage(str(path))


def _items(built: Any) -> Iterator[tuple[Any, Any]]:
    """(image, target); an image is a FileImage where torchvision reads a file."""
    if hasattr(built, "_images") and hasattr(built, "_bin_labels"):  # OxfordIIITPet takes no loader
        kinds = {"category": built._labels, "binary-category": built._bin_labels}
        for path, target in zip(built._images, kinds[built._target_types[0]], strict=True):
            yield _noted(path), target
    elif built.__class__.__name__ == "GTSRB":  # neither does this
        for path, target in built._samples:
            yield _noted(path), target
    else:
        for number in range(len(built)):
            image, target = built[number]
            yield image if isinstance(image, FileImage) else _pixels(image), target


def _pixels(image: Any) -> FileImage | np.ndarray:
    """Of a Pillow image: its file if it was opened and nothing else, else uint8 (H, W) or (H, W, 3)."""
    if path := getattr(image, "filename", ""):
        image.close()
        return _noted(path)
    return np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"))


def _names(built: Any) -> list[str] | None:
    """Of the classes, by number; where the numbers are all there is, None."""
    for name in ("wnids", "attr_names", "classes", "categories", "all_categories"):
        if getattr(built, name, None):
            return [str(each) for each in getattr(built, name)]
    numbers = getattr(built, "class_to_idx", {})
    return sorted(numbers, key=numbers.__getitem__) or None


def _label(target: Any, names: list[str] | None) -> str | tuple[str, ...]:
    """Raises ValueError for an image without a label, or with what is none."""
    target = target.tolist() if hasattr(target, "tolist") else target
    if isinstance(target, list) and set(target) <= {0, 1}:
        return tuple(names[i] if names else str(i) for i, has in enumerate(target) if has)
    if not isinstance(target, int) or target < 0:
        raise ValueError(f"its label is {target!r}, where a class is needed")
    return names[target] if names else str(target)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".:") or type(error).__name__
