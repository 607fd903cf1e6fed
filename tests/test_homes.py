"""Data sets of a command: in which order they are prepared."""

import pytest

from data_prep.sources import FractalSource, Source
from pipeline.errors import BadInput
from pipeline.homes import in_order


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
