"""Running counts: by hand, and nothing of the future in them."""

import math
from dataclasses import replace

import pytest
import torch

from graphs.data.snapshots import Snapshot
from graphs.model_config import StructureConfig
from graphs.structure import (
    REPUTATION_DECAYS,
    PairCounts,
    Reputation,
    Structure,
    structure_widths,
)

NODES = 4


def snapshot(pairs: list[tuple[int, int]], labels: list[int] | None = None) -> Snapshot:
    both = sorted({pair for u, v in pairs for pair in ((u, v), (v, u))})
    index = torch.tensor(both, dtype=torch.int64).reshape(-1, 2).T
    label = None
    if labels is not None:
        of = dict(zip(pairs, labels, strict=True))
        label = torch.tensor([of.get((u, v), of.get((v, u), -1)) for u, v in both])
    return Snapshot(NODES, index, torch.ones(len(both)), edge_label=label)


def test_counts_by_hand() -> None:
    counts = PairCounts(NODES, [0.5])
    counts.update(snapshot([(0, 1)]))
    step = counts.update(snapshot([(0, 2)]))
    assert step.keys.tolist() == [1, 2, 4, 8]
    old, new = ([math.log1p(c), math.log1p(c / 1e-3) / 7] for c in (0.5, 1.0))
    rows = [[*old, 0.5], [*new, 1.0], [*old, 0.5], [*new, 1.0]]
    torch.testing.assert_close(step.pairs, torch.tensor(rows))
    # node 0: .5 + 1 edges; node 3 was never there
    assert step.nodes[0].tolist() == pytest.approx([math.log(2.5), 1.0])
    assert step.nodes[1].tolist() == pytest.approx([math.log(1.5), 0.5])
    assert step.nodes[3].tolist() == [0.0, 0.0]


def test_find_gives_met_pairs_alone() -> None:
    counts = PairCounts(NODES, [0.9])
    step = counts.update(snapshot([(1, 3)]))
    found, columns = step.find(torch.tensor([0, 7, 9, 13]))
    assert found.tolist() == [1, 3]
    assert torch.equal(columns, step.pairs)
    assert step.of_rows(1, 2, NODES) == slice(0, 1)
    assert step.of_rows(0, 1, NODES) == slice(0, 0)


def test_reputation_knows_labels_of_earlier_steps_alone() -> None:
    config = StructureConfig(reputation=True)
    first, second = snapshot([(0, 1), (2, 3)], [1, 0]), snapshot([(0, 2)], [0])
    flipped = snapshot([(0, 2)], [1])
    seen = []
    for last in (second, flipped):
        structure = Structure(config, NODES)
        structure.advance(first)
        structure.reveal(first)
        seen.append(structure.advance(last).nodes)
        structure.reveal(last)
    assert torch.equal(*seen)
    assert seen[0].shape == (NODES, structure_widths(config)[0])
    assert seen[0][0, 0] > 0 > seen[0][2, 0]


def test_reputation_by_hand() -> None:
    """Node 0: one positive edge, a = 1, q = (2 + 1) / (2 + 2): r = (1 + .75) / 2."""
    reputation = Reputation(NODES, [1.0])
    reputation.update(snapshot([(0, 1)], [1]))
    rate = (1 + 0.75) / 2
    expected = math.log(rate / (1 - rate)) - math.log(3)
    assert reputation.features()[0].tolist() == pytest.approx([expected, math.log(2)], rel=1e-5)
    assert reputation.features()[2].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert len(REPUTATION_DECAYS) == 3


def test_a_step_without_labels_only_ages_reputation() -> None:
    reputation, same = Reputation(NODES, [0.5]), Reputation(NODES, [0.5])
    for one in (reputation, same):
        one.update(snapshot([(0, 1)], [1]))
    reputation.update(snapshot([(0, 2)]))
    same.update(snapshot([(0, 2)], [-1]))
    assert torch.equal(reputation.features(), same.features())
    assert reputation.features()[0, 1].item() == pytest.approx(math.log(1.5))


def test_a_directed_edge_counts_for_both_of_its_nodes() -> None:
    index = torch.tensor([[0, 1], [2, 2]])
    step = Snapshot(NODES, index, torch.ones(2), edge_label=torch.tensor([0, 1]))
    counts = PairCounts(NODES, [1.0], directed=True).update(step)
    assert counts.keys.tolist() == [2, NODES + 2]
    counted = torch.tensor([1.0, 1.0, 2.0, 0.0]).log1p()
    torch.testing.assert_close(counts.nodes[:, 0], counted)
    reputation = Reputation(NODES, [1.0], directed=True)
    reputation.update(step)
    torch.testing.assert_close(reputation.features()[:, 1], counted)


def test_history_repeats_unknown_values() -> None:
    structure = Structure(StructureConfig(lags=2), NODES)
    none = snapshot([])
    for value in ([1.0, 2.0, 3.0, 4.0], [5.0, math.nan, 7.0, 8.0]):
        structure.advance(none)
        structure.reveal(replace(none, value=torch.tensor(value)))
    nodes = structure.advance(none).nodes
    assert nodes.tolist() == [[5.0, 1.0], [2.0, 2.0], [7.0, 3.0], [8.0, 4.0]]
