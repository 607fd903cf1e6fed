"""Data sets of a command: in which order they are prepared, and from where."""

from pathlib import Path

import pytest
from pictures import picture
from servers import drop, faulty
from test_adopt import write

from data_prep.manifest import read_manifest
from data_prep.prepare import prepare
from data_prep.sources import FractalSource, Source, WebdatasetSource
from data_prep.verify import verify
from pipeline.errors import BadInput
from pipeline.homes import in_order, localise_on
from pipeline.placement import Placement


def sources(**distinct: list[str]) -> dict[str, Source]:
    return {name: FractalSource(distinct_from=others) for name, others in distinct.items()}


def test_what_others_must_be_distinct_from_comes_first() -> None:
    assert in_order(sources(a=[], b=[])) == ["a", "b"]
    assert in_order(sources(up=["down", "other"], down=["other"], other=[])) == ["other", "down", "up"]


def test_a_circle_and_an_unknown_name_are_one_sentence() -> None:
    with pytest.raises(BadInput, match=r"circle \(b -> c -> b\)"):
        in_order(sources(a=["b"], b=["c"], c=["b"]))
    with pytest.raises(BadInput, match=r"circle \(a -> a\)"):
        in_order(sources(a=["a"]))
    with pytest.raises(BadInput, match=r"data\.up\.distinct_from names 'donw'.*did you mean 'down'"):
        in_order(sources(up=["donw"], down=[]))


def test_archives_on_a_web_server_are_indexed_and_verified_there(tmp_path: Path) -> None:
    """Fetched for a task, and gone after it."""
    folder = tmp_path / "archives"
    for number in range(3):
        write(folder / f"x-{number}.tar", {f"{number}{i}": (picture(10 * number + i), "ab"[i % 2]) for i in range(8)})
    objects = {f"/{path.name}": path.read_bytes() for path in folder.iterdir()}
    with faulty(objects=objects) as server:
        source = WebdatasetSource(train=f"{server.address}/x-{{0..2}}.tar", val_share=0.25)
        localise = localise_on(Placement(data=str(tmp_path / "data"), fetch_seconds=20.0))
        server.faults.append(drop(after=1000))
        dataset, made = prepare(source, "w", tmp_path / "data", localise=localise)
        assert (dataset.samples, dataset.val_samples) == (18, 6)
        assert read_manifest(made).base == server.address
        assert verify(made, localise=localise) == 24
        assert not list((tmp_path / "data" / "cache" / "passing").iterdir())
        server.objects["/x-1.tar"] = server.objects["/x-2.tar"]
        with pytest.raises(BadInput, match=r"http://127.*x-1.tar, key \d+: the image is damaged"):
            verify(made, localise=localise)
        del server.objects["/x-0.tar"]
        with pytest.raises(BadInput, match=r"x-0\.tar"):
            verify(made, localise=localise)
