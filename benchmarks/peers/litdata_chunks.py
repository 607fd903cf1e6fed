"""litdata: JPEG bytes in its optimised chunks, streamed from the local disk."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportPrivateImportUsage=false

from collections.abc import Iterable
from typing import Any

import litdata  # type: ignore
import torch

from benchmarks.peers.decode import DECODERS
from benchmarks.peers.work import Work


def read(sample: tuple[str, int]) -> dict[str, Any]:
    path, label = sample
    with open(path, "rb") as file:
        return {"jpg": file.read(), "cls": label}


def prepare(work: Work, **_: str) -> None:
    folder = work.folder / "litdata"
    if folder.exists():
        return
    samples = [(str(path), label) for path, label in work.samples()]
    litdata.optimize(read, samples, str(folder), chunk_bytes="64MB", num_workers=1, verbose=False)


class Images(litdata.StreamingDataset):
    def __init__(self, work: Work, decoder: str) -> None:
        super().__init__(str(work.folder / "litdata"), shuffle=True, drop_last=True)
        self.decode, self.after = DECODERS[decoder], work.transform()

    def __getitem__(self, index: Any) -> tuple[torch.Tensor, int]:
        sample = super().__getitem__(index)
        return self.after(self.decode(sample["jpg"])), sample["cls"]


def loader(work: Work, workers: int, decoder: str) -> Iterable[Any]:
    return litdata.StreamingDataLoader(Images(work, decoder), batch_size=work.batch, num_workers=workers)
