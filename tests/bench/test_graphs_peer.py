"""The peer of the graph benchmark computes what the equations say."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch

GRAPHS = Path(__file__).resolve().parents[1] / "graphs"
SIZES = {"num_nodes": 30, "num_edges": 600, "num_steps": 8}


@pytest.fixture
def raw(bench):
    return importlib.import_module("graphs_raw").stand_in("small", **SIZES)


@pytest.fixture
def peer(raw):
    module = importlib.import_module("graphs_peer")
    return lambda kind: module.Peer(
        raw, module.Setting(kind, width=4, decoder_width=5, negatives=3, context=2, chunk=7)
    )


@pytest.fixture
def references(monkeypatch):
    monkeypatch.syspath_prepend(str(GRAPHS))
    return importlib.import_module("references")


def edges_of(raw, step):
    """Both directions of every edge of a step."""
    at = raw.step == step
    ends = np.stack([raw.source[at], raw.target[at]], 1)
    return np.concatenate([ends, ends[:, ::-1]]).tolist()


def layer_parameters(layer):
    gates = {
        f"{part}_{short}": getattr(layer.cell, f"{part}_{name}").double()
        for short, name in (("Z", "update"), ("R", "reset"), ("H", "new"))
        for part in "WUB"
    }
    return gates | {"W_0": layer.initial.double(), "p": layer.scorer[:, 0].double()}


@pytest.mark.parametrize("kind", ["o", "h"])
def test_embeddings_equal_the_reference(raw, peer, references, kind):
    ours = peer(kind)
    for parameter in ours.layers.parameters():  # biases are not zero
        parameter.data += 0.1 * torch.randn_like(parameter)
    ours.layers.eval()
    graphs = [edges_of(raw, step) for step in range(5)]
    features = [references.one_hot_degrees(30, edges, ours.features) for edges in graphs]
    parameters = [layer_parameters(layer) for layer in ours.layers]
    wanted = references.ibm_compat(kind, parameters, graphs, features, context=2).outputs[-1]
    got = ours.embed(ours.sample(4))
    torch.testing.assert_close(got.double(), wanted, rtol=1e-4, atol=1e-5)


def test_logits_and_loss_equal_the_reference(peer, references):
    ours = peer("o")
    sample = ours.sample(3)
    nodes = ours.embed(sample).detach()
    logits = ours.decode(nodes, sample.pairs)
    first, _, second = ours.decoder
    parameters = {
        "W_1": first.weight, "b_1": first.bias, "W_2": second.weight, "b_2": second.bias,
    }  # fmt: skip
    wanted = references.decoder(nodes, sample.pairs.T.tolist(), parameters)
    torch.testing.assert_close(logits, wanted, rtol=1e-5, atol=1e-6)
    loss = references.weighted_loss(wanted, sample.labels.tolist(), ours.setting.class_weights)
    torch.testing.assert_close(ours.loss(logits, sample.labels), loss, rtol=1e-5, atol=1e-6)


def test_samples_hold_what_they_should(raw, peer):
    ours = peer("h")
    sample = ours.sample(3)
    positives = {tuple(edge) for edge in edges_of(raw, 4)}
    pairs = [tuple(pair) for pair in sample.pairs.T.tolist()]
    taken, left = pairs[: len(positives)], pairs[len(positives) :]
    assert set(taken) == positives and sample.labels.sum() == len(positives)
    assert len(left) == 3 * len(positives) == len(set(left))
    assert not positives & set(left) and all(u != v for u, v in left)
    window = {end for step in (1, 2, 3) for edge in edges_of(raw, step) for end in edge}
    assert {u for u, _ in left} <= {u for u, _ in positives}
    assert {v for _, v in left} <= window
    everything = ours.sample(3, all_pairs=True)
    assert sorted(map(tuple, everything.pairs.T.tolist())) == [
        (u, v) for u in range(30) for v in range(30)
    ]
    assert everything.labels.sum() == len(positives)


def test_metrics_equal_oracles(bench):
    metrics = pytest.importorskip("sklearn.metrics", exc_type=ImportError)
    module = importlib.import_module("graphs_peer")
    rng = np.random.default_rng(0)
    scores = rng.permutation(400).astype(np.float32)
    labels = (rng.random(400) < 0.05).astype(np.int64)
    pairs = np.stack([np.arange(400) // 20, np.arange(400) % 20])
    order = rng.permutation(400)
    ranked = []
    for row in range(20):
        own = scores[20 * row : 20 * row + 20]
        hits = own[labels[20 * row : 20 * row + 20] == 1]
        if len(hits):
            ranked.append(np.mean([1 / (1 + (own > hit).sum()) for hit in hits]))
    got = module.mean_reciprocal_rank(scores[order], labels[order], pairs[:, order], 20)
    assert got == pytest.approx(np.mean(ranked))
    tied = scores // 10
    assert module.average_precision(tied, labels) == pytest.approx(
        metrics.average_precision_score(labels, tied)
    )


@pytest.mark.parametrize("kind", ["o", "h"])
def test_an_epoch_learns_and_times_its_stages(raw, peer, kind):
    ours = peer(kind)
    before = [parameter.detach().clone() for parameter in ours.layers.parameters()]
    runs = ours.epoch(range(2, 5))
    stages = importlib.import_module("graphs_stages")
    assert [list(run) for run in runs] == [list(stages.TRAIN)] * 3
    assert importlib.import_module("stages").total(runs).cpu > 0
    moved = [
        not torch.equal(old, new) for old, new in zip(before, ours.layers.parameters(), strict=True)
    ]
    assert moved.count(False) == (2 if kind == "o" else 0)  # -O has scorers without a use
    seconds, found = ours.test_step(5)
    assert list(seconds) == list(stages.TEST) and 0 < found["map"] <= 1 and 0 < found["mrr"] <= 1


def test_shares_far_from_the_released_ones_are_marked(bench):
    stages = importlib.import_module("stages")
    rows = stages.shares({"a": 2.0, "b": 2.0}, (1.0, 3.0))
    assert rows == [
        "| a | 2.000 | 50% | 1.000 | 25% | +100% |",
        "| b | 2.000 | 50% | 3.000 | 75% | -33% |",
        "| together | 4.000 | | 4.000 | | |",
    ]
    assert stages.shares({"a": 1.0, "b": 2.5}, (1.0, 3.0))[0].endswith("| 25% |  |")


def test_edges_survive_a_file(bench, raw, tmp_path):
    module = importlib.import_module("graphs_raw")
    raw.write(tmp_path / "out.small")
    back = module.read_uci(tmp_path / "out.small")
    assert back.num_nodes == raw.num_nodes == 30
    for name in ("source", "target", "time"):
        np.testing.assert_array_equal(getattr(back, name), getattr(raw, name))
    assert set(raw.step) == set(range(8))
    pairs = set(zip(raw.source, raw.target, strict=True))
    assert len(pairs) < len(raw.source)  # repeats


def test_published_files_have_their_published_sizes(bench, test_data):
    module = importlib.import_module("graphs_raw")
    uci = module.read_uci(test_data / "graphs" / "out.opsahl-ucsocial")
    assert (uci.num_nodes, len(uci.source), uci.num_steps) == (1899, 59835, 89)
    assert (uci.train_steps(0.71), uci.test_steps(0.71)) == (range(10, 62), range(71, 88))
    assert importlib.import_module("graphs_peer").Peer(uci, settings()).features == 167
    otc = module.read_otc(test_data / "graphs" / "soc-sign-bitcoinotc.csv")
    assert (otc.num_nodes, len(otc.source), otc.num_steps) == (5881, 35592, 138)
    assert (otc.train_steps(0.7), otc.test_steps(0.7)) == (range(10, 95), range(109, 137))


def settings():
    return importlib.import_module("graphs_peer").Setting("o", width=4)


def test_the_script_prints_stages_beside_the_released_ones(bench, raw, tmp_path):
    module = importlib.import_module("graphs_raw")
    long = module.stand_in("long", num_nodes=120, num_edges=900, num_steps=40, step_s=190_080)
    long.write(tmp_path / "out.long")
    output = bench(
        "graphs_peer.py", str(tmp_path / "out.long"),
        "--samples", "2", "--turns", "1", "--test-steps", "1",
    )  # fmt: skip
    assert output.count("| together |") == 4 and "-O, " in output and "-H, " in output
    for stage in ("negatives + snapshots", "backward + step", "scores"):
        assert output.count(f"| {stage} |") == 2
