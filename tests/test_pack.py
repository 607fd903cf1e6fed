"""Preparing: shards, manifest, resume, verification."""

import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import CIFAR, FASHION, class_folder, needs
from PIL import Image
from webdataset.compat import WebDataset

from data_prep import shards
from data_prep.manifest import SPLITS, open_index, read_manifest
from data_prep.pack import Item, write_shard
from data_prep.prepare import find, prepare
from data_prep.sources import FractalSource, ImageSource, Order
from data_prep.verify import verify
from pipeline.errors import BadInput

SOURCE = FractalSource(image_size=16, classes=6, per_class=50, points=256, test_share=0.1)


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(SOURCE, "f", tmp_path_factory.mktemp("pack"))[1]


@given(st.lists(st.binary(max_size=1500), max_size=12))
def test_shards_are_plain_tars(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("shard") / "x.tar"
    items = [Item(f"{i:09d}", "png", data, i % 3) for i, data in enumerate(contents)]
    shard, places = write_shard(path, items)
    data = path.read_bytes()
    assert shard.bytes == len(data)
    assert [data[offset : offset + size] for offset, size in places] == contents
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert [m.name for m in members] == [f"{i.key}.{end}" for i in items for end in ("png", "cls")]
        assert all((m.mtime, m.uid, m.mode, m.uname) == (0, 0, 0o644, "") for m in members)
        assert [archive.extractfile(m).read() for m in members[1::2]] == [str(i.label).encode() for i in items]  # type: ignore[union-attr]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_stock_webdataset_reads_the_shards(folder: Path) -> None:
    index = open_index(folder, "train")
    url = str(folder / "train-00000.tar")
    stock: Any = WebDataset(url, shardshuffle=False)
    samples = list(stock.decode("pil").to_tuple("png", "cls"))
    assert [label for _, label in samples] == index.label.tolist()
    assert samples[0][0].size == (16, 16)


def test_every_image_is_in_one_split_and_where_the_index_says(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest.counts == {"train": 240, "val": 30, "test": 30}
    hashes = [open_index(folder, split).content for split in SPLITS]
    assert len(np.unique(np.concatenate(hashes))) == 300
    index = open_index(folder, "val")
    tar = (folder / "val-00000.tar").read_bytes()
    for offset, size in zip(index.offset.tolist(), index.size.tolist(), strict=True):
        assert Image.open(io.BytesIO(tar[offset : offset + size])).size == (16, 16)


def test_any_executor_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as threads, ProcessPoolExecutor(2) as processes:
        for number, mapper in enumerate((threads.map, processes.map)):
            made = prepare(SOURCE, "f", tmp_path / str(number), map=mapper)[1]
            assert files(made) == files(folder)


def test_preparing_again_does_nothing(folder: Path) -> None:
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert prepare(SOURCE, "f", folder.parent)[1] == folder
    assert find(SOURCE, "f", folder.parent) == (read_manifest(folder).dataset(), folder)
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    assert find(replace(SOURCE, seed=1), "f", folder.parent) is None


class Killed(BaseException):
    """Not an Exception, as nothing may catch it."""


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_stopped_and_resumed_gives_the_same_bytes(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Stopped between any two tasks, some shards and images done; small shards, so that there are many."""
    root = tmp_path_factory.mktemp("resume")

    def stops_after(tasks: int):
        left = [tasks]

        def mapper(function, jobs):
            for job in jobs:
                if not left[0]:
                    raise Killed
                left[0] -= 1
                yield function(job)

        return mapper

    for _ in range(3):
        try:
            prepare(SOURCE, "f", root, map=stops_after(data.draw(st.integers(0, 4))))
        except Killed:
            continue
        break
    assert files(prepare(SOURCE, "f", root)[1]) == files(folder)


SLOW = """
import sys
from pathlib import Path
from data_prep import shards, spool
from data_prep.prepare import prepare
from data_prep.sources import FractalSource
shards.SHARD_SAMPLES, spool.CHUNK_RECORDS = 100, 64
source = FractalSource(image_size=16, classes=6, per_class=500, points=256)
print("ready", flush=True)
prepare(source, "f", Path(sys.argv[1]))
"""


def test_killed_and_resumed_gives_the_same_bytes(tmp_path: Path) -> None:
    """By SIGKILL at random moments, a new process each time."""

    def start(root: Path) -> subprocess.Popen[str]:
        child = subprocess.Popen([sys.executable, "-c", SLOW, str(root)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        child.stdout.readline()
        return child

    began = time.monotonic()
    whole = start(tmp_path / "whole")
    assert whole.wait() == 0 and whole.stdout is not None
    whole.stdout.close()
    seconds = time.monotonic() - began
    killed = 0
    for wait in (random.Random(0).uniform(0.1, 0.9) * seconds for _ in range(4)):
        child = start(tmp_path / "killed")
        time.sleep(wait / 2)
        child.send_signal(signal.SIGKILL)
        killed += child.wait() == -signal.SIGKILL
        assert child.stdout is not None
        child.stdout.close()
    assert killed
    last = start(tmp_path / "killed")
    assert last.wait() == 0 and last.stdout is not None
    last.stdout.close()
    (made,) = (f for f in (tmp_path / "killed").iterdir() if not f.name.startswith("."))
    assert files(made) == files(tmp_path / "whole" / made.name)
    assert verify(made) == 3000
    assert not list((tmp_path / "killed").glob(".*.partial"))


COMMAND = """
import sys
import pipeline.pool
from data_prep import shards, spool
from pipeline.cli import main
pipeline.pool.HERE_SECONDS = 0.2
shards.SHARD_SAMPLES, spool.CHUNK_RECORDS = 100, 64
words = ["data=fractal", "data.fractal.classes=8", "data.fractal.per_class=500", "data.fractal.points=256"]
sys.exit(main(["prepare", *words, "data.fractal.image_size=16", "placement.cpus=2", f"placement.data={sys.argv[1]}"]))
"""


@pytest.mark.slow
def test_the_command_killed_at_random_moments_goes_on(tmp_path: Path) -> None:
    """By SIGKILL: the command, or one of Ray's workers, or SIGINT; 4,000 images in 63 parts and 42 shards."""
    g = random.Random(1)

    def start(root: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path
        )

    def workers(child: subprocess.Popen[bytes]) -> list[int]:
        listed = subprocess.run(["pgrep", "-f", "ray::"], capture_output=True, text=True, check=False).stdout.split()
        return [int(pid) for pid in listed if child.pid in ancestors(int(pid))]

    began = time.monotonic()
    whole = start(tmp_path / "whole")
    assert whole.communicate()[1] == b""
    seconds = time.monotonic() - began
    codes = set()
    for number in range(6):
        child = start(tmp_path / "killed")
        time.sleep(g.uniform(0.1, 0.9) * seconds)
        if number % 4 == 3:
            child.send_signal(signal.SIGINT)
        elif number % 4 == 1 and (found := workers(child)):
            os.kill(found[0], signal.SIGKILL)
        else:
            child.send_signal(signal.SIGKILL)
        said = child.communicate()[1].decode()
        assert "Traceback" not in said
        codes.add(child.returncode)
        if child.returncode == 0 and number % 4 != 1:
            shutil.rmtree(tmp_path / "killed")
    assert -signal.SIGKILL in codes
    assert start(tmp_path / "killed").communicate()[1] == b""
    (made,) = (f for f in (tmp_path / "killed").iterdir() if not f.name.startswith("."))
    assert files(made) == files(tmp_path / "whole" / made.name)
    assert verify(made) == 4000
    assert [f.name for f in (tmp_path / "killed").iterdir()] == [made.name]


def ancestors(pid: int) -> list[int]:
    """Of a process, nearest first."""
    found: list[int] = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            break
        found.append(pid)
    return found


def test_many_processes_at_once_prepare_once(tmp_path: Path) -> None:
    children = [
        subprocess.Popen([sys.executable, "-c", SLOW, str(tmp_path)], stdout=subprocess.DEVNULL) for _ in range(4)
    ]
    assert [child.wait() for child in children] == [0] * 4
    assert [f.name[:2] for f in tmp_path.iterdir()] == ["f-"]


def test_a_bad_source_leaves_nothing_behind(tmp_path: Path) -> None:
    images = class_folder(tmp_path / "x", {"a": 300, "b": 0}, size=(8, 8))
    with pytest.raises(BadInput, match=r"b in .* holds no image"):
        prepare(ImageSource(path=str(images)), "x", tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("kib", [8, 200, 420, 700])
def test_a_full_disk_is_one_sentence_and_the_same_command_continues(folder: Path, tmp_path: Path, kib: int) -> None:
    """In the spool, in the first shard, and in the last; on a real disk of that size where we may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        with pytest.raises(BadInput, match=r"No space is left in .* the same command continues") as caught:
            prepare(SOURCE, "f", disk)
        assert "\n" not in str(caught.value)
        assert not find(SOURCE, "f", disk)
        subprocess.run(["mount", "-o", "remount,size=20m", disk], check=True)
        assert files(prepare(SOURCE, "f", disk)[1]) == files(folder)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_root_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="file where a folder"):
        prepare(SOURCE, "f", tmp_path / "file")


def test_the_id_is_of_the_content(folder: Path, tmp_path: Path) -> None:
    same = prepare(SOURCE, "another name", tmp_path)[0]
    assert same.id == read_manifest(folder).dataset().id
    others = [replace(SOURCE, seed=1), replace(SOURCE, order=Order.plain), replace(SOURCE, order_seed=1)]
    ids = {prepare(source, "f", tmp_path)[0].id for source in others}
    assert len(ids | {same.id}) == 4


def test_the_id_does_not_move_with_the_compressor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = prepare(SOURCE, "f", tmp_path / "1")[0]
    save = Image.Image.save
    monkeypatch.setattr(Image.Image, "save", lambda self, file, form, **_: save(self, file, form, compress_level=9))
    second, made = prepare(SOURCE, "f", tmp_path / "2")
    assert second.id == first.id
    assert read_manifest(made).shards != read_manifest(find(SOURCE, "f", tmp_path / "1")[1]).shards  # type: ignore[index]


def test_small_shards_hold_consecutive_positions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 20_000)
    made = prepare(SOURCE, "f", tmp_path)[1]
    index = open_index(made, "train")
    assert (np.diff(index.shard.astype(int)) >= 0).all()
    assert index.shard.max() > 2
    assert verify(made) == 300


def test_prepared_data_outlives_its_files(tmp_path: Path) -> None:
    images = class_folder(tmp_path / "images", {"train/a": 6, "train/b": 6})
    source = ImageSource(path=str(images), val_share=0.2)
    made = prepare(source, "mine", tmp_path / "data")
    images.rename(tmp_path / "moved")
    assert find(source, "mine", tmp_path / "data") == made
    assert find(replace(source, path=""), "mine", tmp_path / "data") == made
    assert find(replace(source, val_share=0.4), "mine", tmp_path / "data") is None
    mistyped = replace(source, path=str(tmp_path / "imagse"))
    assert find(mistyped, "mine", tmp_path / "data") is None
    with pytest.raises(BadInput, match="does not exist"):
        prepare(mistyped, "mine", tmp_path / "data")


def test_a_class_without_training_images_and_a_wrong_number_of_classes(tmp_path: Path) -> None:
    images = class_folder(tmp_path / "x", {"train/a": 3, "test/a": 1, "test/b": 1})
    with pytest.raises(BadInput, match="Class 'b' has no training image"):
        prepare(ImageSource(path=str(images)), "x", tmp_path / "data")
    images = class_folder(tmp_path / "y", {"a": 3, "b": 3})
    with pytest.raises(BadInput, match="2 classes where 10 are declared"):
        prepare(ImageSource(path=str(images), classes=10), "y", tmp_path / "data")


def test_copies_are_counted_and_land_on_one_side(tmp_path: Path) -> None:
    images = class_folder(tmp_path / "x", {"train/a": 20, "train/b": 20, "test/a": 3})
    for number in range(20):
        data = (images / "train" / "a" / f"{number:04d}.jpg").read_bytes()
        (images / "train" / "b" / f"copy{number}.jpg").write_bytes(data)
    (images / "test" / "a" / "copy.jpg").write_bytes((images / "train" / "b" / "0000.jpg").read_bytes())
    made = prepare(ImageSource(path=str(images), val_share=0.3), "x", tmp_path / "data")[1]
    train, val = open_index(made, "train").content, open_index(made, "val").content
    assert not np.isin(train, val).any()
    assert read_manifest(made).duplicates["within train"] > 0
    assert read_manifest(made).duplicates["train in val"] == 0


def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    """Images go through; only their rows stay."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    prepare(FractalSource(image_size=64, classes=2, per_class=1000, points=64), "f", tmp_path)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 150


@needs(CIFAR)
@pytest.mark.slow
def test_cifar_is_prepared_within_a_minute(tmp_path: Path) -> None:
    began = time.process_time()
    dataset, made = prepare(ImageSource(path=str(CIFAR), classes=10), "cifar10", tmp_path)
    assert time.process_time() - began < 60
    assert (dataset.samples, dataset.val_samples, dataset.test_samples, dataset.classes) == (45000, 5000, 10000, 10)
    assert np.bincount(open_index(made, "train").label[:50]).tolist() == [5] * 10
    assert verify(made) == 60_000


@needs(FASHION)
@pytest.mark.slow
def test_fashion_mnist_is_prepared(tmp_path: Path) -> None:
    dataset, made = prepare(ImageSource(path=str(FASHION), classes=10), "fashion", tmp_path)
    assert (dataset.samples, dataset.val_samples, dataset.test_samples) == (54000, 6000, 10000)
    assert verify(made) == 70_000
