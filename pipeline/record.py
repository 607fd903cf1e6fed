"""Record: what a finished Segment leaves beside its end state. Publishing it is the act that finishes the segment."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.errors import BadInput
from pipeline.store import Store

FORMAT = 1


def state_key(address_key: str) -> str:
    return f"states/{address_key}.safetensors"


def partial_key(address_key: str) -> str:
    """The rolling checkpoint of an unfinished segment, beside the state it works towards."""
    return f"states/{address_key}.partial"


def record_key(address_key: str) -> str:
    return f"states/{address_key}.json"


def log_key(address_key: str) -> str:
    return f"logs/{address_key.replace('/', '-')}.log"


@dataclass
class Record:
    """One Segment, done or diverged."""

    key: str
    start: str
    """Key of the start address; empty for initialisation."""
    owner: str
    """Digest of the Trial whose tracked run this stretch was logged into."""
    outcome: str
    """done or diverged."""
    first_step: int
    last_step: int
    curve: list[dict[str, float]] = field(default_factory=list)
    """Points of the training curve: samples_seen, compute/exaflops, train/loss, train/lr."""
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    """Device-seconds of this segment, all attempts together."""
    seconds_total: float = 0.0
    """And of everything below it on its trunk."""
    flops: int = 0
    samples_per_second: float = 0.0
    has_state: bool = True
    """False where nothing can rest on the end state, as after few-shot."""
    state_sha256: str = ""
    """Of the end state's bytes."""
    reason: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    """How the images were read: share of time spent waiting, decoder, images that could not be used."""
    host: dict[str, Any] = field(default_factory=dict)
    track: str = ""
    format: int = FORMAT

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False).encode()


def read_record(store: Store, address_key: str) -> Record | None:
    """Raises BadInput for a damaged record or one of a newer format."""
    key = record_key(address_key)
    data = store.get(key)
    if data is None:
        return None
    try:
        plain = json.loads(data)
        if int(plain["format"]) > FORMAT:
            raise BadInput(
                f"The record {store.describe(key)} was written by a newer Crossover: upgrade, or use another store."
            )
        return Record(**plain)
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"The record {store.describe(key)} is damaged: delete it, and its segment will run again."
        ) from error


def chain(store: Store, address_key: str) -> Iterator[Record]:
    """The records from this one down to initialisation."""
    while address_key:
        record = read_record(store, address_key)
        if record is None:
            return
        yield record
        address_key = record.start


def stored_steps(store: Store, digest: str) -> set[int]:
    """Steps at which a finished state of this trajectory or trial is stored."""
    keys = set(store.keys(f"states/{digest[:2]}/{digest}"))
    return {
        int(k.rsplit("/", 1)[1].removesuffix(".safetensors"))
        for k in keys
        if k.endswith(".safetensors") and k.removesuffix(".safetensors") + ".json" in keys
    }
