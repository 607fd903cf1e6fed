"""The stored order (data_prep/order.py) and the order of training (pipeline/data/order.py)."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import order as order_module
from data_prep.order import held_out, permutation
from data_prep.sources import Order
from pipeline.data import order as visiting
from pipeline.data.order import _enciphered, permuted, sample_ids, windows
from pipeline.subset import Subset

COUNTS = st.lists(st.integers(1, 60), min_size=1, max_size=12)


def labelled(counts: list[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Shuffled labels and distinct content hashes."""
    g = np.random.default_rng(seed)
    labels = g.permutation(np.repeat(np.arange(len(counts)), counts))
    return labels, g.permutation(2**40 + np.arange(len(labels))).astype(np.uint64)


def prefixes(labels: np.ndarray, order: np.ndarray, classes: int) -> np.ndarray:
    """Images of each class in every prefix, (N, C)."""
    return np.cumsum(labels[order][:, None] == np.arange(classes), axis=0)


@given(COUNTS, st.integers(0, 99))
def test_a_stratified_prefix_is_proportional_within_one_image(counts: list[int], seed: int) -> None:
    labels, hashes = labelled(counts, seed)
    order = permutation(labels, hashes, Order.stratified, seed)
    assert sorted(order) == list(range(len(labels)))
    share = np.array(counts) / sum(counts)
    deviation = prefixes(labels, order, len(counts)) - np.arange(1, len(labels) + 1)[:, None] * share
    assert np.abs(deviation).max() < 1


@given(COUNTS, st.integers(0, 99))
def test_a_balanced_prefix_is_even_until_a_class_runs_out(counts: list[int], seed: int) -> None:
    labels, hashes = labelled(counts, seed)
    order = permutation(labels, hashes, Order.balanced, seed)
    assert sorted(order) == list(range(len(labels)))
    taken = prefixes(labels, order, len(counts))
    left = taken < np.array(counts)
    most = taken.max(axis=1, keepdims=True)
    assert (taken[left] >= np.broadcast_to(most, taken.shape)[left] - 1).all()


@pytest.mark.parametrize("order", [order for order in Order if order is not Order.source])
def test_the_order_does_not_depend_on_the_order_of_reading(order: Order) -> None:
    labels, hashes = labelled([20, 7, 13], 0)
    turn = np.random.default_rng(1).permutation(len(labels))
    first = hashes[permutation(labels, hashes, order, 5)]
    second = hashes[turn][permutation(labels[turn], hashes[turn], order, 5)]
    assert np.array_equal(first, second)
    assert not np.array_equal(first, hashes[permutation(labels, hashes, order, 6)])


def test_the_source_s_own_order_is_kept() -> None:
    labels, hashes = labelled([5, 3], 0)
    assert permutation(labels, hashes, Order.source, 0).tolist() == list(range(8))


@given(COUNTS, st.integers(0, 99), st.integers(1, 40))
def test_the_order_is_that_of_earliest_deadline_first(counts: list[int], seed: int, block: int) -> None:
    """Against the scheduler written down plainly, in blocks of any size."""
    labels, hashes = labelled(counts, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_module, "BLOCK", block)
        found = permutation(labels, hashes, Order.stratified, seed)
    n = len(labels)
    base = np.argsort(hashes)
    streams = [np.random.Philox(key=np.array([seed, k], dtype=np.uint64)).random_raw(n) for k in (0, 1)]
    shuffled = base[np.argsort(streams[0], kind="stable")]
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")].tolist()
    ranks = [k for count in counts for k in range(count)]
    sizes = [count for count in counts for _ in range(count)]
    jobs = [(k * n // c, -(-(k + 1) * n // c)) for k, c in zip(ranks, sizes, strict=True)]
    left, expected = set(range(n)), []
    for place in range(n):
        ready = [j for j in left if jobs[j][0] <= place]
        taken = min(ready, key=lambda j: (jobs[j][1], streams[1][j], jobs[j][0], j))
        left.remove(taken)
        expected.append(by_class[taken])
    assert found.tolist() == expected


def test_the_stored_order_never_moves() -> None:
    """Recorded once: a change would give prepared data another id."""
    g = np.random.Generator(np.random.Philox(7))
    labels, hashes = g.integers(0, 300, 100_000), g.integers(0, 2**63, 100_000).astype(np.uint64)
    digests = {
        order.value: hashlib.sha256(permutation(labels, hashes, order, 3).astype("<i8").tobytes()).hexdigest()[:16]
        for order in Order
    }
    assert digests == STORED


STORED = {
    "stratified": "1806064e6de5a528",
    "balanced": "1a0c291f82e98bec",
    "plain": "003f744611000139",
    "source": "baa5f49fbad78af4",
}


@given(COUNTS, st.integers(0, 99), st.integers(1, 60), st.integers(0, 9))
def test_a_replicate_is_proportional_within_two_images(counts: list[int], seed: int, size: int, replicate: int) -> None:
    """A stretch of the stored order, round its end where need be: the difference of two prefixes."""
    labels, hashes = labelled(counts, seed)
    n = len(labels)
    size = min(size, n)
    stored = labels[permutation(labels, hashes, Order.stratified, seed)]
    members = np.take(stored, np.arange(size) + size * replicate, mode="wrap")
    share = np.array(counts) / n
    assert np.abs(np.bincount(members, minlength=len(counts)) - size * share).max() < 2


@given(COUNTS, st.integers(0, 99))
def test_a_plain_order_is_a_permutation_that_ignores_the_classes(counts: list[int], seed: int) -> None:
    labels, hashes = labelled(counts, seed)
    order = permutation(labels, hashes, Order.plain, seed)
    assert sorted(order) == list(range(len(labels)))
    assert np.array_equal(order, permutation(np.zeros_like(labels), hashes, Order.plain, seed))


def test_equal_classes_come_in_shuffled_rounds() -> None:
    """Every round holds each class once, and not always in the same order."""
    labels, hashes = labelled([50] * 8, 0)
    rounds = labels[permutation(labels, hashes, Order.stratified, 0)].reshape(50, 8)
    assert (np.sort(rounds, axis=1) == np.arange(8)).all()
    assert len(np.unique(rounds, axis=0)) > 40


@given(COUNTS, st.integers(0, 99), st.floats(0, 0.45), st.floats(0, 0.45), st.integers(0, 30))
def test_held_out_counts_and_copies(counts: list[int], seed: int, test: float, val: float, copies: int) -> None:
    labels, hashes = labelled(counts, seed)
    side = held_out(hashes, labels, (test, val))
    for number, share in ((1, test), (2, val)):
        assert np.bincount(labels[side == number], minlength=len(counts)).tolist() == [round(n * share) for n in counts]
    g = np.random.default_rng(seed)
    hashes[g.integers(0, len(hashes), copies)] = hashes[g.integers(0, len(hashes), copies)]
    side = held_out(hashes, labels, (test, val))
    assert all(len(set(side[hashes == content])) == 1 for content in hashes)


def test_what_is_held_out_stays_so_when_images_are_added() -> None:
    """Of a share cut by content, an image leaves only when smaller hashes push it out."""
    labels, hashes = labelled([400], 0)
    half = held_out(hashes[:200], labels[:200], (0.1,))
    whole = held_out(hashes, labels, (0.1,))
    assert (half[:200] & whole[:200]).sum() > 10


def test_an_empty_split_has_an_order() -> None:
    empty = np.array([], dtype=np.int64)
    for order in Order:
        assert len(permutation(empty, empty.astype(np.uint64), order, 0)) == 0


# ---- the order of training ----


@given(st.integers(1, 50), st.integers(0, 5), st.integers(0, 200), st.integers(0, 150))
def test_any_stretch_is_a_part_of_the_one_sequence(n: int, seed: int, start: int, length: int) -> None:
    subset = Subset("d" * 64, n)
    whole = sample_ids(subset, 50, seed, 0, start + length)
    assert np.array_equal(sample_ids(subset, 50, seed, start, start + length), whole[start:])


@given(st.integers(1, 50), st.integers(0, 5), st.integers(0, 4))
def test_every_epoch_is_a_whole_permutation(n: int, seed: int, replicate: int) -> None:
    ids = sample_ids(Subset("d" * 64, n, replicate), 50, seed, 0, 3 * n).reshape(3, n)
    expected = np.sort((np.arange(n) + replicate * n) % 50)
    assert (np.sort(ids, axis=1) == expected).all()
    if n > 20:
        assert not np.array_equal(ids[0], ids[1])


@settings(max_examples=20)
@given(st.integers(1, 30), st.integers(1, 40))
def test_subsets_are_nested_and_small_replicates_disjoint(small: int, more: int) -> None:
    def members(samples: int, replicate: int = 0) -> set[int]:
        return set(sample_ids(Subset("d" * 64, samples, replicate), 100, 0, 0, samples).tolist())

    assert members(small) <= members(small + more)
    assert not members(small) & members(small, 1)


def test_the_order_of_a_run_never_moves() -> None:
    """Recorded once: a change here would make old and new results differ in secret."""
    assert permuted(f"{'0' * 64}/10/0/0", 10, np.arange(10)).tolist() == GOLDEN


GOLDEN = [9, 7, 4, 2, 6, 8, 0, 3, 5, 1]


def test_everything_that_may_change_the_order_changes_it() -> None:
    orders = [
        tuple(permuted(f"{dataset}/40/{seed}/{epoch}", 40, np.arange(40)))
        for dataset in "ab"
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    assert len(set(orders)) == 8


@settings(max_examples=60)
@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 6), st.integers(0, 3), st.integers(0, 2))
def test_blocks_and_windows_are_still_whole_permutations(n: int, block: int, window: int, seed: int, draw: int) -> None:
    subset, total = Subset("d" * 64, n, draw, block, window), 1200
    ids = sample_ids(subset, total, seed, 0, 2 * n).reshape(2, n)
    assert (np.sort(ids, axis=1) == np.sort((np.arange(n) + draw * n) % total)).all()
    assert np.array_equal(sample_ids(subset, total, seed, n // 2, n + n // 2), ids.reshape(-1)[n // 2 : n + n // 2])


@settings(max_examples=60)
@given(st.integers(1, 400), st.integers(1, 60), st.integers(1, 6), st.integers(0, 2), st.data())
def test_what_is_visited_next_is_known_ahead(n: int, block: int, window: int, draw: int, data: st.DataObject) -> None:
    subset, total = Subset("d" * 64, n, draw, block, window), 1200
    start = data.draw(st.integers(0, 2 * n))
    stop = start + data.draw(st.integers(1, 2 * n))
    known = windows(subset, total, 0, start, stop)
    ids = sample_ids(subset, total, 0, start, stop).tolist()
    present: set[int] = set()
    moves = 0
    for sample, row in enumerate(ids, start):  # in the order of visiting: never back to a window that was left
        if sample % n == 0:
            present = set()
        while row not in present:
            present = {row for low, high in next(known) for row in range(low, high)}
            moves += 1
        present.remove(row)
    assert next(known, None) is None
    assert moves <= -(-len(ids) // min(n, block * window)) + 2 * (2 + len(ids) // n)


def test_few_blocks_are_in_use_at_once() -> None:
    subset = Subset("d" * 64, 10_000, 0, 100, 4)
    ids = sample_ids(subset, 10_000, 0, 0, 10_000)
    assert max(len(set((ids[k : k + 400] // 100).tolist())) for k in range(0, 10_000, 400)) == 4
    assert len(set((ids[:400] // 100).tolist())) == 4 and len(set(ids[:40].tolist())) == 40


@pytest.mark.parametrize("n", [1, 2, 3, 17, 1000, 4096, 5000])
def test_the_cipher_is_a_permutation_that_looks_random(n: int) -> None:
    order = _enciphered(f"x{n}", n, np.arange(n))
    assert np.array_equal(np.sort(order), np.arange(n))
    if n >= 1000:
        tenths = np.histogram2d(np.arange(n), order, bins=10)[0]
        chi = float(((tenths - n / 100) ** 2 / (n / 100)).sum())
        assert 50 < chi < 125, "81 degrees of freedom"
        assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 0.06


def test_the_cipher_never_moves_and_takes_over_where_sorting_costs_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _enciphered("x", 10**9, np.arange(3)).tolist() == CIPHERED
    monkeypatch.setattr(visiting, "SORTED", 100)
    ids = sample_ids(Subset("d" * 64, 101), 101, 0, 0, 202)
    assert sorted(ids[:101].tolist()) == list(range(101)) and not np.array_equal(ids[:101], ids[101:])
    assert np.array_equal(sample_ids(Subset("d" * 64, 101), 101, 0, 50, 150), ids[50:150])


CIPHERED = [150665383, 763605425, 149226063]
