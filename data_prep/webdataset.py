"""WebDataset archives made elsewhere: what one of them holds, and where, so that it is read in place and never copied.

Members with the same name up to the first dot of its last part are one sample, and lie side by side, as ``webdataset``
has it; names without a dot and ``__meta__`` are passed over, as there.
"""

import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_prep.index import ROW
from data_prep.jpeg import frame
from data_prep.labels import Label
from data_prep.tarscan import FILE, FOLDER, DamagedTar, Member, members
from pipeline.errors import BadInput

IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm")
META = re.compile(r"__[^/.]*__($|[/.])")
JSON = "json:"
EXIF_ORIENTATION = 0x0112
PNG, PNG_DEPTH = b"\x89PNG", 24
"""How a PNG begins, and where it says how many bits a channel has."""
SHORT = 64
"""Bytes of a label that may come again."""
LARGEST = 2**16 - 1
"""Pixels of a side that the index can hold."""


@dataclass(frozen=True)
class Keys:
    """Which members of a sample are what, and what the classes are called."""

    label: str = "cls"
    """Ending of the member whose text is the label; or ``json:FIELD``, a class, a number or a list of them."""
    image: str = ""
    """Ending of the image, where a sample has several."""
    names: Sequence[str] = ()
    """Of the classes, if labels are their numbers."""


@dataclass
class ShardIndex:
    """``rows`` (N,) of data_prep.index.ROW, in the order of the archive: their ``shard`` is 0, their ``content`` a hash
    of the image's bytes (not of its pixels), width and height as they are coded, and ``label`` counts in ``labels``.
    """

    rows: np.ndarray
    labels: list[Label]
    """Each that occurs, once, in the order in which they are met."""
    bytes: int
    """Of the archive."""
    unconverted: int = 0
    """Images that are shown turned (EXIF), or have alpha, more than 8 bits, or CMYK: read in place, they do not get the
    conversion that preparing gives them."""


@dataclass
class _Sample:
    key: str
    members: dict[str, Member] = field(default_factory=dict)
    """By ending, in lower case."""


def index_shard(path: Path, keys: Keys = Keys(), shown: str = "") -> ShardIndex:
    """Of one archive on this machine; ``shown`` is what messages call it.

    Raises BadInput, naming archive and key, for a key that comes twice, a sample without image or label, links, names
    that point out of the archive, and an archive that is cut off anywhere or damaged. Raises OSError.
    """
    shown = shown or str(path)
    rows: list[tuple[int, ...]] = []
    labels: dict[Label, int] = {}
    seen: dict[bytes, int] = {}
    unconverted = 0
    with path.open("rb") as file:
        read, size = partial(os.pread, file.fileno()), os.fstat(file.fileno()).st_size
        for sample in _samples(file.fileno(), size, shown):
            try:
                place = _image(sample, keys.image)
                data = read(place.size, place.offset)
                width, height, plain = _header(data)
                told = _member(sample, keys.label.partition(":")[0])
                text = read(told.size, told.offset)
                if (code := seen.get(text)) is None:
                    code = labels.setdefault(_label(text, keys), len(labels))
                    if len(text) <= SHORT:
                        seen[text] = code
            except ValueError as error:
                raise BadInput(f"Shard {shown}, key {sample.key}: {error}.") from error
            content = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
            rows.append((place.offset, content, 0, place.size, code, zlib.crc32(data), width, height))
            unconverted += not plain
    return ShardIndex(np.array(rows, dtype=ROW), list(labels), size, unconverted)


def merged(parts: Iterable[ShardIndex]) -> tuple[np.ndarray, list[Label]]:
    """Rows of all, their shards numbered from 0 in this order, and the labels that they count in."""
    labels: dict[Label, int] = {}
    listed = [np.empty(0, dtype=ROW)]
    for number, part in enumerate(parts):
        code = np.array([labels.setdefault(label, len(labels)) for label in part.labels], dtype=np.int32)
        rows = part.rows.copy()
        rows["shard"] = number
        rows["label"] = code[rows["label"]]
        listed.append(rows)
    return np.concatenate(listed), list(labels)


def _samples(descriptor: int, size: int, shown: str) -> Iterator[_Sample]:
    """Raises BadInput for what is no sample, and for a damaged archive."""
    done: set[str] = set()
    sample = _Sample("")
    try:
        for member in members(partial(os.pread, descriptor), 0, size):
            parts = _parts(member, shown)
            if parts is None:
                continue
            key, ending = parts
            if key != sample.key:
                if sample.key:
                    yield sample
                if key in done:
                    raise BadInput(f"Shard {shown} holds key {key} twice, at different places: make it anew.")
                done.add(key)
                sample = _Sample(key)
            if ending in sample.members:
                raise BadInput(f"Shard {shown} holds {member.name} twice: make it anew with one sample under each key.")
            sample.members[ending] = member
    except DamagedTar as error:
        where = f", after key {sample.key}" if sample.key else ""
        raise BadInput(f"Shard {shown}{where}: {error}; fetch it again.") from error
    if sample.key:
        yield sample


def _parts(member: Member, shown: str) -> tuple[str, str] | None:
    """(key, ending) of a file; None of what is passed over."""
    folder, slash, last = member.name.rpartition("/")
    stem, dot, ending = last.partition(".")
    if member.name.startswith("/") or ".." in folder.split("/"):
        raise BadInput(f"Shard {shown} holds {member.name!r}, which points out of it: do not trust it, make it anew.")
    if member.kind == FOLDER:
        return None
    if member.kind != FILE:
        raise BadInput(f"Shard {shown} holds {member.name}, a link or device: make it anew with files only.")
    if not (stem and dot) or META.match(member.name):
        return None
    return folder + slash + stem, ending.lower()


def _member(sample: _Sample, ending: str) -> Member:
    if ending not in sample.members:
        raise ValueError(f"it has no .{ending} but {', '.join('.' + name for name in sorted(sample.members))}")
    return sample.members[ending]


def _image(sample: _Sample, ending: str) -> Member:
    if ending:
        return _member(sample, ending)
    found = [name for name in sample.members if name.rpartition(".")[2] in IMAGES]
    if not found:
        raise ValueError(f"it has no image but {', '.join('.' + name for name in sorted(sample.members))}")
    if len(found) > 1:
        raise ValueError(f"it has several images, {', '.join(sorted(found))}: set data.NAME.image_key to one")
    return sample.members[found[0]]


def _header(data: bytes) -> tuple[int, int, bool]:
    """Width, height, and whether readers see it as it is shown: upright 8-bit RGB or grey. Nothing is decoded."""
    if (plain := frame(data)) is not None:
        return *plain[:2], True
    try:
        with Image.open(BytesIO(data)) as image:
            upright = "exif" not in image.info or image.getexif().get(EXIF_ORIENTATION, 1) <= 1
            deep = data.startswith(PNG) and data[PNG_DEPTH] == 16
            opaque = image.mode in ("RGB", "L") and "transparency" not in image.info
            width, height = image.size
    except Exception as error:  # each of Pillow's decoders raises its own kinds
        raise ValueError("its image is of no known format, or damaged") from error
    if max(width, height) > LARGEST:
        raise ValueError(f"its image is {width:,} x {height:,} pixels, where {LARGEST:,} is the most")
    return width, height, upright and opaque and not deep


def _label(text: bytes, keys: Keys) -> Label:
    """Raises ValueError for what is no label."""
    try:
        plain = text.decode()
        value: Any = json.loads(plain) if keys.label.startswith(JSON) else plain.strip()
    except (ValueError, RecursionError) as error:
        raise ValueError(f"its .{keys.label.partition(':')[0]} is damaged") from error
    if keys.label.startswith(JSON):
        name = keys.label.removeprefix(JSON)
        if not isinstance(value, dict) or value.get(name) is None:
            raise ValueError(f"its .json has no {name!r}")
        value = value[name]
    if isinstance(value, list):
        return tuple(dict.fromkeys(_class(each, keys.names) for each in value))
    return _class(value, keys.names)


def _class(value: Any, names: Sequence[str]) -> str:
    if not isinstance(value, (str, int)) or isinstance(value, bool) or value == "":
        raise ValueError(f"its label is {value!r}, where text or a whole number is needed")
    text = str(value)
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"its label is {text!r}, which is no text")
    if not names or text in names:
        return text
    if not text.isdecimal() or int(text) >= len(names):
        raise ValueError(f"its label is {text!r}, but there are {len(names)} class names")
    return names[int(text)]
