"""Pareto: which runs no other beats, the hull through them, ties, one run, duplicates."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadInput
from pipeline.laws.isoflops.pareto import binned, pareto


def test_hull_is_part_of_the_set() -> None:
    flops = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 3.0])
    metric = np.exp([0.0, -0.1, -1.0, -1.1, -2.0, 0.5])
    found = pareto(flops, metric)
    assert found.rows == [0, 1, 2, 3, 4]
    assert found.hull == [0, 2, 4]
    assert found(4.0) == pytest.approx(np.exp(-1.0))
    assert found(np.sqrt(4.0 * 16.0)) == pytest.approx(np.exp(-1.5))
    assert found(1e9) == pytest.approx(np.exp(-2.0))
    assert found(0.5) == np.inf


def test_collinear_runs_lie_on_the_hull() -> None:
    assert pareto([1.0, 10.0, 100.0], [1.0, 0.1, 0.01]).hull == [0, 1, 2]


def test_ties_and_duplicates() -> None:
    assert pareto([5.0], [0.3]).hull == [0]
    assert pareto([1.0, 1.0, 1.0], [0.3, 0.3, 0.4]).rows == [0, 1]
    assert pareto([1.0, 1.0], [0.3, 0.3]).hull == [0, 1]
    assert pareto([1.0, 2.0], [0.3, 0.3]).rows == [0]
    assert pareto([1.0, 1.0], [0.3, 0.2]).rows == [1]


@given(
    st.lists(
        st.tuples(st.sampled_from([1.0, 2.0, 3.0, 5.0, 9.0]), st.sampled_from([0.1, 0.2, 0.3, 0.5])),
        min_size=1,
        max_size=20,
    )
)
def test_against_the_definition(runs: list[tuple[float, float]]) -> None:
    flops, metric = (np.array(v) for v in zip(*runs, strict=True))
    found = pareto(flops, metric)

    def beaten(i: int) -> bool:
        better = (flops <= flops[i]) & (metric <= metric[i]) & ((flops < flops[i]) | (metric < metric[i]))
        return bool(better.any())

    assert sorted(found.rows) == [i for i in range(len(runs)) if not beaten(i)]
    assert set(found.hull) <= set(found.rows)
    assert np.all(metric >= found(flops) * (1 - 1e-9))


def test_bins_hold_their_best() -> None:
    flops = np.array([1.0, 1.5, 10.0, 100.0, 90.0])
    metric = np.array([0.5, 0.6, 0.9, 0.2, 0.3])
    assert binned(flops, metric, 2) == [0, 3]
    assert binned(flops, metric, 4) == [0, 2, 3]
    assert binned([7.0, 7.0], [0.2, 0.1]) == [1]


@pytest.mark.parametrize(
    ("flops", "metric", "said"),
    [
        ([1.0, -1.0], [0.1, 0.1], "Column flops must be finite and positive; row 1 holds -1"),
        ([1.0], [float("nan")], "Column metric must be finite and positive; row 0 holds nan"),
        ([1.0, 2.0], [0.1], "equally long"),
        ([], [], "at least one run"),
    ],
)
def test_bad_input(flops: list[float], metric: list[float], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        pareto(flops, metric)
    with pytest.raises(BadInput, match="at least 1 bin"):
        binned([1.0], [1.0], 0)
