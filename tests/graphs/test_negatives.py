"""Negatives: no positive, no self-pair, no repeat; pools, counts, seeds."""

from unittest import mock

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphs import negatives
from graphs.negatives import (
    balanced_weights,
    sample_negatives,
    sample_strata,
    smart_count,
    without,
)

NODES = 30


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 400))
def test_what_a_negative_is(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    positives = torch.randint(NODES**2, (20,), generator=generator).unique()
    targets = torch.randint(NODES, (50,), generator=generator)
    sources = positives // NODES
    drawn = sample_negatives(
        positives, sources, targets, count, num_nodes=NODES, generator=generator
    )
    keys = set(drawn.tolist())
    assert len(keys) == len(drawn) and drawn.tolist() == sorted(keys)
    assert not keys & set(positives.tolist())
    assert all(key // NODES != key % NODES for key in keys)
    assert {key // NODES for key in keys} <= set(sources.tolist())
    assert {key % NODES for key in keys} <= set(targets.tolist())
    possible = {
        u * NODES + v
        for u in sources.tolist()
        for v in targets.tolist()
        if u != v and u * NODES + v not in set(positives.tolist())
    }
    assert len(keys) == min(count, len(possible))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 900), st.integers(1, 60))
def test_marks_draw_what_lists_draw(seed: int, count: int, pool: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    positives = torch.randint(NODES**2, (20,), generator=generator).unique()
    sources, targets = torch.randint(NODES, (2, pool), generator=generator)

    def draw(cells: int) -> list[int]:
        with mock.patch.object(negatives, "CELLS", cells):
            drawn = sample_negatives(
                positives, sources, targets, count, num_nodes=NODES,
                generator=torch.Generator().manual_seed(seed),
            )  # fmt: skip
        return drawn.tolist()

    assert draw(0) == draw(10_000)


def test_every_choice_is_as_likely() -> None:
    """All negatives are listed, then some chosen: each of six in half of the draws."""
    generator, nodes = torch.Generator().manual_seed(0), torch.arange(3)
    seen = torch.zeros(9)
    for _ in range(2000):
        drawn = sample_negatives(
            nodes.new_empty(0), nodes, nodes, 3, num_nodes=3, generator=generator
        )
        assert len(drawn) == 3
        seen[drawn] += 1
    assert seen[[0, 4, 8]].tolist() == [0.0] * 3
    assert (seen[[1, 2, 3, 5, 6, 7]] / 2000 - 0.5).abs().max() < 4 * (0.25 / 2000) ** 0.5


def test_seeded() -> None:
    def draw(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        pool = torch.arange(NODES)
        empty = pool.new_empty(0)
        return sample_negatives(
            empty, pool, pool, 50, num_nodes=NODES, generator=generator
        ).tolist()

    assert draw(1) == draw(1) != draw(2)


def test_marginals_follow_the_pools() -> None:
    """A node that stands three times as often in a pool is drawn three times as often."""
    generator = torch.Generator().manual_seed(0)
    nodes = 2000
    sources = torch.tensor([0, 1, 1, 1])
    targets = torch.arange(nodes)
    drawn = sample_negatives(
        sources.new_empty(0), sources, targets, 1000, num_nodes=nodes, generator=generator
    )
    share = float((drawn // nodes == 1).float().mean())
    # Two draws of one pair count once, so the share falls a little short of 3/4.
    assert 0.69 < share < 0.77


def test_counts() -> None:
    assert smart_count(100, 50.0, of=100) == 5000
    assert smart_count(3, 50.0, of=3) == 3  # E (E - 1) - E
    assert smart_count(1, 50.0, of=1) == smart_count(0, 50.0, of=0) == 0
    assert smart_count(2, 5.0, of=100) == 10  # a part of a step has its share


def test_without_and_nothing_to_draw_from() -> None:
    keys = torch.tensor([1, 2, 5, 9])
    assert without(keys, torch.tensor([2, 9])).tolist() == [1, 5]
    empty = keys.new_empty(0)
    assert without(keys, empty).tolist() == keys.tolist()
    assert sample_negatives(keys, empty, keys, 5, num_nodes=NODES).tolist() == []


def test_balanced_weights_stand_for_all_pairs() -> None:
    positive, past, drawn = balanced_weights([(torch.arange(10), 393)]).tolist()
    assert (positive, past) == (1.0, 1.0) and abs(10 * drawn - 393) < 1e-3
    nothing = torch.empty(0, dtype=torch.int64)
    assert balanced_weights([(nothing, 0)]).tolist() == [1.0, 1.0, 0.0]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, NODES), st.integers(2, 300))
def test_strata_share_out_all_other_pairs(seed: int, num_active: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    taken = torch.randint(NODES**2, (40,), generator=generator).unique()
    taken = taken[taken // NODES != taken % NODES]
    active = torch.randperm(NODES, generator=generator)[:num_active]
    strata = sample_strata(taken, active, count, num_nodes=NODES, generator=generator)
    is_active, left_out = set(active.tolist()), set(taken.tolist())
    others = [
        (u, v) for u in range(NODES) for v in range(NODES)
        if u != v and u * NODES + v not in left_out
    ]  # fmt: skip
    between = [{u, v} <= is_active for u, v in others]
    assert [total for _, total in strata] == [sum(between), len(others) - sum(between)]
    for (drawn, total), wanted in zip(strata, (True, False), strict=True):
        keys = drawn.tolist()
        assert len(set(keys)) == len(keys) <= total
        assert not set(keys) & left_out
        assert all(({k // NODES, k % NODES} <= is_active) == wanted for k in keys)
    assert sum(len(drawn) for drawn, _ in strata) <= count


def test_strata_estimate_sums_over_all_pairs() -> None:
    """Weighted sums of a function of pairs have the right mean."""
    generator = torch.Generator().manual_seed(1)
    value = torch.rand(NODES, NODES, generator=generator).fill_diagonal_(0)
    active, taken = torch.arange(5), torch.tensor([1, 2, 40])
    right = float(value.sum() - value.flatten()[taken].sum())
    found = []
    for _ in range(300):
        strata = sample_strata(taken, active, 80, num_nodes=NODES, generator=generator)
        keys = torch.cat([drawn for drawn, _ in strata])
        counts = torch.tensor([0, 0, *(len(drawn) for drawn, _ in strata)])
        weights = balanced_weights(strata).repeat_interleave(counts)
        found.append(float(weights @ value.flatten()[keys]))
    mean, error = torch.tensor(found).mean(), torch.tensor(found).std() / 300**0.5
    assert abs(float(mean) - right) < 4 * float(error)
