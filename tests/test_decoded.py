"""The node's cache of decoded images: shared, whole or absent, checked by digest, within its budget."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from data_prep.prepare import prepare
from data_prep.sources import FractalSource
from pipeline.data.decoded import ENDING, open_or_build
from pipeline.data.reader import Reader, Reading

SOURCE = FractalSource(image_size=16, classes=4, per_class=60, points=256)
MIB = 2**20


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(SOURCE, "f", tmp_path_factory.mktemp("decoded"))[1]


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / original.name))


def caches(folder: Path) -> list[Path]:
    return sorted(folder.parent.glob(f"cache/*{ENDING}"))


def direct(folder: Path, count: int = 10) -> np.ndarray:
    return Reader.open(folder, "train", Reading(cache_bytes=0)).gather(np.arange(count))[0]


def bits(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, count, dtype=np.uint8)


def flip(path: Path, position: int) -> None:
    """In place, as a bad disk or a careless tool would."""
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)
        file.seek(position)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("keep_time", [False, True])
def test_a_flipped_bit_is_found_and_the_file_made_anew(
    folder: Path, keep_time: bool, caplog: pytest.LogCaptureFixture
) -> None:
    reader = Reader.open(folder, "train")
    (cache,) = caches(folder)
    before = cache.stat()
    flip(cache, 1234)
    if keep_time:
        os.utime(cache, ns=(before.st_atime_ns, before.st_mtime_ns))
    del reader
    assert np.array_equal(Reader.open(folder, "train").gather(np.arange(10))[0], direct(folder))
    assert "is damaged and is made anew" in caplog.text


@pytest.mark.parametrize("data", [b"", b"x" * 2000, None])
def test_a_cut_or_foreign_file_is_made_anew(folder: Path, data: bytes | None) -> None:
    Reader.open(folder, "train")
    (cache,) = caches(folder)
    cache.write_bytes(cache.read_bytes()[:500] if data is None else data)
    assert np.array_equal(Reader.open(folder, "train").gather(np.arange(10))[0], direct(folder))


@pytest.mark.parametrize("about", [b"", b"{}", b"[]", b'{"size": 165888}', None])
def test_a_damaged_or_missing_sidecar_only_costs_time(folder: Path, about: bytes | None) -> None:
    Reader.open(folder, "train")
    (cache,) = caches(folder)
    sidecar = cache.with_name(f"{cache.name}.json")
    if about is None:
        sidecar.unlink()
    else:
        sidecar.write_bytes(about)
    reader = Reader.open(folder, "train")
    assert len(reader.cached) == 216
    assert np.array_equal(reader.gather(np.arange(10))[0], direct(folder))


def test_touching_it_means_one_more_look_and_no_new_building(folder: Path) -> None:
    Reader.open(folder, "train")
    (cache,) = caches(folder)
    inode = cache.stat().st_ino
    cache.touch()
    assert len(Reader.open(folder, "train").cached) == 216
    assert caches(folder)[0].stat().st_ino == inode


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_only_costs_time(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    Reader.open(folder, "train")
    (cache,) = caches(folder)
    cache.unlink()
    cache.with_name(f".{cache.name}.tmp").symlink_to("/dev/full")
    reader = Reader.open(folder, "train")
    assert not reader.cached
    assert "No space left" in caplog.text
    assert np.array_equal(reader.gather(np.arange(10))[0], direct(folder))


def test_a_subset_is_kept_where_the_whole_does_not_fit(folder: Path) -> None:
    reading = Reading(cache_bytes=100 * 16 * 16 * 3)
    reader = Reader.open(folder, "train", reading, samples=90)
    assert reader.cached == range(90)
    assert np.array_equal(reader.gather(np.arange(216))[0], direct(folder, 216))
    assert not Reader.open(folder, "train", reading, samples=101).cached
    del reader
    assert Reader.open(folder, "train", reading, first=90, samples=90).cached == range(90, 180)


def test_it_stays_within_its_budget_and_evicts_what_was_used_longest_ago(tmp_path: Path) -> None:
    for number in range(3):
        assert open_or_build(tmp_path / f"{number}{ENDING}", 1000, 3000, [bits(1000, number)])
        os.utime(tmp_path / f"{number}{ENDING}.json", (number, number))
    first = open_or_build(tmp_path / f"0{ENDING}", 1000, 3000, [])  # used again
    assert first is not None
    assert open_or_build(tmp_path / f"3{ENDING}", 1000, 3000, [bits(1000, 3)])
    assert sorted(p.name for p in tmp_path.glob(f"*{ENDING}")) == [f"{k}{ENDING}" for k in (0, 2, 3)]


def test_what_is_in_use_is_not_evicted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    used = open_or_build(tmp_path / f"a{ENDING}", 1000, 1500, [bits(1000)])
    assert open_or_build(tmp_path / f"b{ENDING}", 1000, 1500, [bits(1000)]) is None
    assert "files in use fill the cache" in caplog.text
    assert used is not None and np.array_equal(used.flat, bits(1000))
    del used
    assert open_or_build(tmp_path / f"b{ENDING}", 1000, 1500, [bits(1000)]) is not None
    assert not (tmp_path / f"a{ENDING}").exists()


def test_what_never_fits_is_not_even_looked_at(tmp_path: Path) -> None:
    assert open_or_build(tmp_path / "no" / f"a{ENDING}", 1001, 1000, [bits(1001)]) is None
    assert not (tmp_path / "no").exists()


def test_another_process_keeps_its_file(tmp_path: Path) -> None:
    path = tmp_path / f"a{ENDING}"
    open_or_build(path, 1000, 1500, [bits(1000)])
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert open_or_build(tmp_path / f"b{ENDING}", 1000, 1500, [bits(1000)]) is None
    assert json.loads(path.with_name(f"{path.name}.json").read_text())["size"] == 1000


OPEN = """
import sys
from pipeline.data import cached, reader, stored
cached.BUILT_AT_ONCE = 16 * 768
r = reader.Reader.open(sys.argv[1], "train")
assert len(r.cached) == 216
print(r.gather(reader.np.arange(216))[0].sum())
"""
DYING = """
import os, signal
get = stored.StoredImages.read
def dying(self, row, *rest):
    if row == 100:
        os.kill(os.getpid(), signal.SIGKILL)
    return get(self, row, *rest)
stored.StoredImages.read = dying
"""


def opening(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", OPEN, str(folder)], stdout=subprocess.PIPE, text=True)


def test_many_processes_at_once_and_killed_builders(folder: Path) -> None:
    expected = str(direct(folder, 216).sum())
    killed = opening(folder)
    time.sleep(0.25)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    children = [opening(folder) for _ in range(4)]
    assert [child.communicate()[0].strip() for child in children] == [expected] * 4
    assert not list(folder.parent.glob("cache/.*.tmp"))
    assert len(caches(folder)) == 1


def test_a_builder_killed_between_two_writes_leaves_nothing_wrong(folder: Path) -> None:
    """A process that dies inside the building itself, by its own hand."""
    code = OPEN.replace("cached.BUILT", DYING + "cached.BUILT")
    done = subprocess.run([sys.executable, "-c", code, str(folder)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not caches(folder)
    assert np.array_equal(Reader.open(folder, "train").gather(np.arange(216))[0], direct(folder, 216))
