"""MosaicML streaming: JPEG bytes in MDS shards on the local disk."""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportPrivateImportUsage=false

from collections.abc import Iterable
from typing import Any

import streaming  # type: ignore
import torch
from torch.utils.data import DataLoader

from benchmarks.peers.decode import DECODERS
from benchmarks.peers.work import Work


def prepare(work: Work, **_: str) -> None:
    folder = work.folder / "mds"
    if folder.exists():
        return
    with streaming.MDSWriter(out=str(folder), columns={"jpg": "bytes", "cls": "int"}) as writer:
        for path, label in work.samples():
            writer.write({"jpg": path.read_bytes(), "cls": label})


class Images(streaming.StreamingDataset):
    def __init__(self, work: Work, decoder: str) -> None:
        super().__init__(local=str(work.folder / "mds"), shuffle=True, batch_size=work.batch)
        self.decode, self.after = DECODERS[decoder], work.transform()

    def __getitem__(self, at: Any) -> tuple[torch.Tensor, int]:
        sample = super().__getitem__(at)
        return self.after(self.decode(sample["jpg"])), sample["cls"]


def loader(work: Work, workers: int, decoder: str) -> Iterable[Any]:
    streaming.base.util.clean_stale_shared_memory()
    return DataLoader(Images(work, decoder), work.batch, num_workers=workers, drop_last=True)
