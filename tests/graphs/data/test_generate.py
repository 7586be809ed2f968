"""Random graphs have the densities, labels and repetitions they promise."""

import numpy as np
import pytest
import torch

from foretell.errors import UserError
from graphs.data.generate import generate_sbm, heavy_tailed, heavy_tailed_events, write_elliptic
from graphs.data.readers import read_graph
from graphs.data_config import DataConfig, GeneratorConfig


def test_default_block_model_has_the_published_size():
    sequence = generate_sbm(GeneratorConfig())
    assert len(sequence) == 50 and sequence.num_nodes == 1_000
    edges = np.array([snapshot.num_edges for snapshot in sequence])
    assert abs(edges.mean() - 97_000) < 300 and edges.std() > 50  # binomial, not fixed
    assert abs(edges.sum() - 4_870_863) < 25_000  # published total
    for snapshot in (sequence[0], sequence[49]):
        inside = (snapshot.node_label[snapshot.edge_index[0]]
                  == snapshot.node_label[snapshot.edge_index[1]])  # fmt: skip
        assert abs(inside.float().mean() - 0.8) < 0.01
        assert (snapshot.edge_index[0] != snapshot.edge_index[1]).all()
        assert (snapshot.weight == 1).all()


def test_pairs_of_a_block_are_equally_likely():
    """Share of the steps in which a pair has an edge: its mean and its spread over pairs."""
    config = GeneratorConfig(
        num_nodes=40, num_steps=300, num_communities=2, edges_per_step=300, migrating=0
    )
    sequence = generate_sbm(config)
    counts = torch.zeros(40, 40)
    for snapshot in sequence:
        counts[tuple(snapshot.edge_index)] += 1
    label = sequence[0].node_label
    same = label[:, None] == label[None]
    upper = torch.ones(40, 40).triu(1).bool()
    for pairs, chance in ((same & upper, 300 * 0.8 / 760), (~same & upper, 300 * 0.2 / 800)):
        share = counts[pairs] / 300
        spread = (chance * (1 - chance) / 300) ** 0.5
        assert share.mean() == pytest.approx(chance, abs=4.5 * spread / len(share) ** 0.5)
        assert share.std() == pytest.approx(spread, rel=0.15)
        assert ((share - chance).abs() < 4.5 * spread).all()


def test_nodes_migrate_and_labels_follow():
    sequence = generate_sbm(GeneratorConfig(num_nodes=90, num_steps=5, edges_per_step=300,
                                            migrating=7))  # fmt: skip
    assert torch.bincount(sequence[0].node_label).tolist() == [30, 30, 30]
    for one, two in zip(sequence, sequence[1:], strict=False):
        assert int((one.node_label != two.node_label).sum()) == 7


def test_the_seed_decides_everything():
    config = GeneratorConfig(num_nodes=60, num_steps=3, edges_per_step=200, migrating=3)
    one, again = generate_sbm(config), generate_sbm(config)
    other = generate_sbm(GeneratorConfig(**{**vars(config), "seed": 1}))
    longer = generate_sbm(GeneratorConfig(**{**vars(config), "num_steps": 6}))
    for left, right, third, fourth in zip(one, again, other, longer, strict=False):
        assert torch.equal(left.edge_index, right.edge_index)
        assert not torch.equal(left.edge_index, third.edge_index)
        assert torch.equal(left.edge_index, fourth.edge_index)


def test_directed_edges_are_drawn_one_by_one():
    config = GeneratorConfig(num_nodes=60, num_steps=20, edges_per_step=300, migrating=3)
    sequence = generate_sbm(config, DataConfig(kind="generated", directed=True))
    assert np.mean([s.num_edges for s in sequence]) == pytest.approx(300, rel=0.05)
    snapshot = sequence[0]
    back = snapshot.edge_index[1] * 60 + snapshot.edge_index[0]
    assert torch.isin(back, snapshot.pair_keys).float().mean() < 0.4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_nodes": 5}, "every community needs at least 2 nodes"),
        ({"edges_per_step": 900_000}, "more than half of the"),
        ({"inside_share": 1.5}, "inside_share must lie in"),
        ({"migrating": 2_000}, "migrating in"),
    ],
)
def test_impossible_sizes_are_told(change, message):
    with pytest.raises(UserError, match=message):
        generate_sbm(GeneratorConfig(**change))


def test_degrees_are_heavy_tailed_and_pairs_repeat():
    sequence = heavy_tailed(20_000, 5, 40_000, seed=3)
    assert len(sequence) == 5 and sequence.num_nodes == 20_000
    total = sum(float(snapshot.weight.double().sum()) for snapshot in sequence)
    assert total == 2 * 5 * 40_000
    degree = torch.stack([snapshot.out_degree for snapshot in sequence]).sum(0).double()
    assert degree.max() > 50 * degree.mean()  # a Poisson degree would reach 3 times the mean
    ranked = degree.sort(descending=True).values[10:1000]
    slope = np.polyfit(np.log(np.arange(11, 1001)), ranked.log(), 1)[0]
    assert slope == pytest.approx(-1 / 1.5, abs=0.12)  # rank^(-1 / (exponent - 1))
    for one, two in zip(sequence, sequence[1:], strict=False):
        assert torch.isin(two.pair_keys, one.pair_keys).float().mean() > 0.15
    fresh = heavy_tailed(20_000, 2, 40_000, seed=3, repeated=0.0)
    assert torch.isin(fresh[1].pair_keys, fresh[0].pair_keys).float().mean() < 0.1


def test_heavy_tailed_arguments_are_checked():
    with pytest.raises(ValueError, match="at least 1"):
        heavy_tailed_events(0, 1, 1)
    with pytest.raises(ValueError, match="exponent above 2"):
        heavy_tailed_events(5, 1, 1, exponent=1.5)
    one, two = (heavy_tailed_events(50, 3, 40, seed=7) for _ in range(2))
    assert np.array_equal(one.source, two.source) and np.array_equal(one.target, two.target)


def test_written_elliptic_files_can_be_learned(tmp_path):
    """Classes depend on features, on neighbours, and on the step; some are unknown."""
    folder = write_elliptic(tmp_path / "e", num_steps=30, nodes_per_step=200, seed=1)
    sequence = read_graph(DataConfig(path=str(folder), drop_time_column=True))
    labels = torch.stack([snapshot.node_label for snapshot in sequence]).max(0).values
    assert len(sequence) == 30 and sequence.num_nodes == 6_000
    assert (labels >= 0).float().mean() == pytest.approx(0.5, abs=0.03)
    assert (labels[labels >= 0] == 1).float().mean() == pytest.approx(0.2, abs=0.03)
    x, step = sequence[0].x.double(), np.repeat(np.arange(30), 200)
    near = torch.zeros_like(x)
    for snapshot in sequence:
        source, target = snapshot.edge_index
        near.index_add_(0, source, x[target])
        near[source.unique()] /= torch.bincount(source, minlength=6_000)[source.unique()][:, None]

    def accuracy(columns, fit, score):
        from sklearn.linear_model import LogisticRegression

        known = labels.numpy() >= 0
        model = LogisticRegression(C=10.0).fit(columns[fit & known], labels[fit & known])
        chance = model.predict_proba(columns[score & known])[:, 1]
        from sklearn.metrics import roc_auc_score

        return roc_auc_score(labels[score & known], chance)

    early, soon, late = step < 3, (step >= 3) & (step < 5), (step >= 14) & (step < 16)
    both = torch.cat([x, near], 1).numpy()
    assert accuracy(x.numpy(), early, soon) > 0.75
    assert accuracy(both, early, soon) > accuracy(x.numpy(), early, soon) + 0.02
    assert accuracy(both, early, late) < 0.35  # the direction has turned by half a circle
