"""The plan of a cache: what to fetch, what to keep."""

from itertools import cycle, islice

from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.remote.upcoming import Upcoming


def follow(sequence, shards: int, fits: int, window: int = 1) -> Upcoming:
    """Windows of this many shards each."""
    upcoming, shard = Upcoming([10] * shards, 10 * fits), iter(sequence)
    upcoming.follow(iter(lambda: list(islice(shard, window)), []))
    return upcoming


def evicted_first(upcoming: Upcoming, shards) -> list[int]:
    return sorted(shards, key=upcoming.keep)


def test_what_fits_is_wanted_soonest_first() -> None:
    upcoming = follow([4, 2, 0, 1, 3], 5, 3)
    assert upcoming.wanted() == [4, 2, 0]
    assert upcoming.wanted({4, 0}) == [2]
    assert not upcoming.read(4)
    assert upcoming.read(2)
    assert not upcoming.read(2)
    assert upcoming.wanted() == [2, 0, 1]


def test_what_is_needed_latest_goes_first_and_what_is_in_use_last() -> None:
    upcoming = follow([0, 1, 2, 0, 3, 1], 6, 2)
    upcoming.read(0)
    assert evicted_first(upcoming, range(5)) == [4, 3, 2, 1, 0]
    upcoming.read(1)
    assert evicted_first(upcoming, range(6)) == [4, 5, 3, 0, 2, 1]
    upcoming.read(2)
    assert evicted_first(upcoming, [0, 1, 2]) == [1, 0, 2]


def test_a_window_is_read_in_any_order_and_any_number_of_times() -> None:
    upcoming = follow(range(12), 12, 6, window=3)
    for shard in (2, 0, 1, 2, 1, 0, 0, 2):
        assert not upcoming.read(shard)
    assert set(evicted_first(upcoming, range(6))[-3:]) == {0, 1, 2}
    assert upcoming.wanted() == [0, 1, 2, 3, 4, 5]
    assert [upcoming.read(shard) for shard in (4, 2, 3, 1, 5, 4, 0, 5)] == [True] + [False] * 7
    assert set(evicted_first(upcoming, range(9))[:3]) == {0, 1, 2}
    assert upcoming.wanted() == [3, 4, 5, 6, 7, 8]
    assert upcoming.before == {0, 1, 2}


def test_a_shard_may_be_in_windows_that_follow_one_another() -> None:
    upcoming = follow([0, 1, 1, 2, 2, 0], 3, 3, window=2)
    for shard in (0, 1, 2):
        upcoming.read(shard)
    assert upcoming.present == {1, 2}
    assert upcoming.wanted() == [1, 2, 0]


def test_an_endless_sequence_is_read_as_needed() -> None:
    upcoming = follow(cycle(range(10)), 10, 3)
    for turn in range(95):
        upcoming.read(turn % 10)
    assert upcoming.wanted() == [4, 5, 6]
    assert follow(cycle(range(10)), 10, 50).wanted() == list(range(10))


def test_a_planned_use_that_never_takes_place_is_forgotten() -> None:
    upcoming = follow(range(20), 20, 4)
    for shard in range(1, 12):
        upcoming.read(shard)
    assert upcoming.wanted() == [11, 12, 13, 14]
    assert upcoming.keep(5) == (0, 0)


def test_a_read_beside_the_plan_does_not_move_it() -> None:
    upcoming = follow(range(40), 40, 4)
    upcoming.read(0)
    assert not upcoming.read(30)
    assert not upcoming.read(12)
    assert upcoming.wanted() == [0, 1, 2, 3]
    for shard in range(9, 40):  # and this is more than beside it
        for _ in range(9):
            upcoming.read(shard)
    assert upcoming.present == {39}


@given(
    st.lists(st.integers(0, 7), max_size=60),
    st.lists(st.integers(0, 7), max_size=60),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_never_more_is_wanted_than_fits(sequence: list[int], reads: list[int], fits: int, window: int) -> None:
    upcoming = follow(sequence, 8, fits, window)
    for shard in reads:
        upcoming.read(shard)
        wanted = upcoming.wanted()
        assert len(set(wanted)) == len(wanted) <= fits
        assert set(wanted) <= set(sequence)
        kept = [upcoming.keep(shard) for shard in wanted]
        assert kept == sorted(kept, reverse=True)


@given(st.integers(1, 6), st.integers(1, 4), st.randoms(use_true_random=False))
def test_whoever_reads_by_the_plan_is_followed(windows: int, window: int, rng) -> None:
    order = [shard for _ in range(3) for shard in rng.sample(range(24), 6 * window)]
    upcoming = follow(iter(order), 24, max(2, windows) * window, window)
    for start in range(0, len(order), window):
        now = order[start : start + window]
        for shard in rng.choices(now, k=5) + now:
            upcoming.read(shard)
        assert abs(upcoming._now - start // window) <= 2
