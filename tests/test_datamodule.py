import shutil
import threading
import time
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.manifest import open_index
from data_prep.prepare import prepare
from data_prep.sources import FractalSource
from pipeline.data.datamodule import Batches, SegmentData
from pipeline.data.reader import Reader, Reading
from pipeline.errors import BadInput
from pipeline.subset import Subset

SOURCE = FractalSource(image_size=16, classes=4, per_class=60, points=256)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(SOURCE, "f", tmp_path_factory.mktemp("batches"))[1]


@pytest.fixture(scope="module", params=[0, 2**30], ids=["from shards", "decoded"])
def reader(folder: Path, request: pytest.FixtureRequest) -> Reader:
    return Reader.open(folder, "train", Reading(cache_bytes=request.param))


def subset_of(reader: Reader, samples: int, replicate: int = 0) -> Subset:
    return Subset(reader.dataset.id, samples, replicate)


def together(parts: list) -> list[torch.Tensor]:
    """The global batch of all ranks, in the order of the counters."""
    joined = [torch.cat([part[i] for part in parts]) for i in range(3)]
    order = joined[2].argsort()
    return [tensor[order] for tensor in joined]


@settings(max_examples=40, deadline=None)
@given(
    world=st.sampled_from([1, 2, 3, 4, 6, 8, 16]),
    start=st.integers(0, 40),
    samples=st.sampled_from([3, 47, 48, 216]),
    seed=st.integers(0, 3),
)
def test_global_batches_do_not_depend_on_the_world_or_the_start(
    reader: Reader, world: int, start: int, samples: int, seed: int
) -> None:
    subset = subset_of(reader, samples)
    whole = list(Batches(reader, subset, seed, 48, 0, start + 2))[start:]
    parts = [Batches(reader, subset, seed, 48, start, start + 2, 0, rank, world) for rank in range(world)]
    assert all(len(part) == 2 for part in parts)
    for expected, *got in zip(whole, *parts, strict=True):
        assert all(len(labels) == 48 // world for _, labels, _ in got)
        for left, right in zip(expected, together(got), strict=True):
            assert torch.equal(left, right)


def test_batches_are_uint8_channels_first_with_counters(reader: Reader) -> None:
    images, labels, counters = Batches(reader, subset_of(reader, 216), 0, 32, 3, 4).batch(3)
    assert (images.dtype, images.shape) == (torch.uint8, (32, 3, 16, 16))
    assert (labels.dtype, counters.tolist()) == (torch.int64, list(range(96, 128)))


def test_an_epoch_sees_every_image_of_the_subset_once(reader: Reader) -> None:
    batches = Batches(reader, subset_of(reader, 96), 0, 32, 3, 6)
    seen = torch.cat([images for images, _, _ in batches]).flatten(1).numpy()
    expected = reader.gather(np.arange(96))[0].transpose(0, 3, 1, 2).reshape(96, -1)
    assert np.array_equal(np.unique(seen, axis=0), np.unique(expected, axis=0))
    assert len(np.unique(seen, axis=0)) == 96


def test_a_subset_smaller_than_a_batch_is_repeated_evenly(reader: Reader) -> None:
    counts = torch.zeros(4, dtype=torch.int64)
    for _, labels, _ in Batches(reader, subset_of(reader, 4), 0, 10, 0, 4):
        counts += torch.bincount(labels, minlength=4)
    assert counts.tolist() == [10, 10, 10, 10]


def test_an_impossible_subset_is_one_sentence(reader: Reader) -> None:
    with pytest.raises(BadInput, match="217 images was asked for, but f has 216 train"):
        Batches(reader, subset_of(reader, 217), 0, 8, 0, 1)
    with pytest.raises(BadInput, match="plan the study again"):
        Batches(reader, Subset("0" * 64, 8), 0, 8, 0, 1)


def test_the_thread_ends_with_the_iteration(reader: Reader) -> None:
    for number, _ in enumerate(Batches(reader, subset_of(reader, 216), 0, 8, 0, 10_000)):
        if number == 2:
            break
    deadline = time.monotonic() + 5
    while any(t.name == "batches" for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(t.name == "batches" for t in threading.enumerate())


@pytest.mark.parametrize("threads", [1, 3])
def test_what_reading_raises_arrives(folder: Path, tmp_path: Path, threads: int) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "f"))
    offset = int(open_index(copy, "train").offset[5])
    shard = copy / "train-00000.tar"
    data = bytearray(shard.read_bytes())
    data[offset + 30] ^= 1
    shard.write_bytes(data)
    reader = Reader.open(copy, "train", Reading(cache_bytes=0))
    with pytest.raises(BadInput, match="key 000000005"):
        list(Batches(reader, subset_of(reader, 216), 0, 54, 0, 4, threads=threads))


class Recorder(lightning.LightningModule):
    """Trains one weight, and notes which samples it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[int] = []

    def training_step(self, batch: tuple[torch.Tensor, ...], batch_idx: int) -> torch.Tensor:
        self.seen += batch[2].tolist()
        return self.weight * batch[1].float().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*", "ignore:.*GPU available.*")
def test_lightning_trains_exactly_the_steps_of_the_segment(folder: Path) -> None:
    reader = Reader.open(folder, "train")
    data = SegmentData(Batches(reader, subset_of(reader, 216), 0, 16, 7, 19))
    assert len(data.train_dataloader()) == 12
    module = Recorder()
    trainer = lightning.Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=12,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    assert module.seen == list(range(7 * 16, 19 * 16))


@pytest.mark.parametrize(("world", "fits"), [(2, True), (4, True), (3, False)])
def test_devices_share_a_batch_evenly_or_not_at_all(folder: Path, world: int, fits: bool) -> None:
    reader = Reader.open(folder, "train")
    data = SegmentData(Batches(reader, subset_of(reader, 216), 0, 16, 0, 4))

    data.trainer = Trainer(world)  # type: ignore[assignment]
    if fits:
        assert [len(labels) for _, labels, _ in data.train_dataloader()] == [16 // world] * 4
    else:
        with pytest.raises(BadInput, match=r"cannot be shared evenly by placement.workers_per_trial=3"):
            data.train_dataloader()


class Trainer:
    """As far as the loader looks at it."""

    def __init__(self, world: int) -> None:
        self.world_size, self.global_rank = world, 1
        self.fit_loop = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False).fit_loop


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_order_does_not_depend_on_threads(reader: Reader, threads: int) -> None:
    subset = subset_of(reader, 100)
    plain = list(Batches(reader, subset, 3, 40, 1, 8))
    for left, right in zip(plain, Batches(reader, subset, 3, 40, 1, 8, threads=threads), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


class Stopping(lightning.Callback):
    """Saves after every batch, and stops after some."""

    def __init__(self, path: Path, stop: int) -> None:
        self.path, self.stop = path, stop

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any, **__: Any) -> None:
        if trainer.fit_loop.epoch_loop.batch_progress.total.ready == self.stop:
            trainer.save_checkpoint(self.path)
            trainer.should_stop = True


class Cosine(Recorder):
    """Its schedule asks for the number of steps, at which Lightning forgets a loader's state."""

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
        steps = int(self.trainer.estimated_stepping_batches)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)]


def fitted(
    module: Recorder, batches: Batches, epochs: int, accumulate: int = 1, checkpoint: Path | None = None, *calls
):
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        min_steps=1,
        logger=False,
        callbacks=list(calls),
        accumulate_grad_batches=accumulate,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, SegmentData(batches), ckpt_path=checkpoint, weights_only=False if checkpoint else None)
    return module


IGNORED = ("ignore:.*does not have many workers.*", "ignore:.*LeafSpec.*", "ignore:.*GPU available.*")


@pytest.mark.filterwarnings(*IGNORED)
@pytest.mark.parametrize("kind", [Recorder, Cosine])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("stop", [2, 6, 12, 14, 24])
def test_lightning_resumes_at_its_own_position(folder: Path, tmp_path: Path, kind, accumulate: int, stop: int) -> None:
    reader = Reader.open(folder, "train")

    def batches(seed: int = 0) -> Batches:
        return Batches(reader, subset_of(reader, 216), seed, 16, 3, 15)

    whole = fitted(kind(), batches(), 3, accumulate).seen
    assert whole == list(range(3 * 16, 39 * 16))
    path = tmp_path / "x.ckpt"
    first = fitted(kind(), batches(), 3, accumulate, None, Stopping(path, stop)).seen
    second = fitted(kind(), batches(), 3, accumulate, path).seen
    assert first[: stop * 16] + second == whole
    with pytest.raises(BadInput, match="made with another data set, subset, seed"):
        fitted(kind(), batches(seed=1), 3, accumulate, path)


def test_a_position_that_is_not_the_checkpoints_is_refused(reader: Reader) -> None:
    subset = subset_of(reader, 216)
    state = Batches(reader, subset, 0, 16, 0, 7).state_dict()
    with pytest.raises(BadInput, match="has seen 0 samples, but is to go on after 48"):
        Batches(reader, subset, 0, 16, 3, 7).check(state)
    Batches(reader, subset, 0, 16, 0, 9, 4, world=2, threads=2).check(state)


def test_time_spent_waiting_is_counted(reader: Reader) -> None:
    batches = Batches(reader, subset_of(reader, 216), 0, 16, 0, 20)
    began = time.monotonic()
    for _ in batches:
        time.sleep(0.01)
    assert batches.waited < (time.monotonic() - began) / 2
    read = reader.read
    try:
        reader.read = lambda *a: (time.sleep(0.02), read(*a))[1]  # type: ignore[method-assign]
        slow = Batches(reader, subset_of(reader, 216), 0, 16, 0, 10)
        list(slow)
    finally:
        reader.read = read  # type: ignore[method-assign]
    assert slow.waited > 0.1
