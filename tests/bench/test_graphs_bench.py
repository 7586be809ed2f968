"""The graph benchmarks at tiny sizes print every row, and peer and ours compute the same."""

import importlib
import json
import re

import numpy as np
import pytest
import torch


@pytest.fixture
def modules(bench):
    return {
        name: importlib.import_module(f"graphs_{name}")
        for name in ("raw", "peer", "ours", "otc", "scale")
    }


@pytest.fixture
def twins(modules):
    raw = modules["raw"].stand_in("small", num_nodes=40, num_edges=900, num_steps=9)
    setting = modules["peer"].Setting(
        "h", width=6, decoder_width=5, negatives=3, context=2, learning_rate=0.05
    )
    return modules["peer"].Peer(raw, setting), modules["ours"].Ours(raw, setting)


def test_a_smoke_run_has_all_rows_and_writes_its_page(bench, tmp_path):
    page = tmp_path / "results" / "graphs_bench.md"
    printed = bench("graphs_bench.py", "--smoke", "--turns", "1", "--out", str(page))
    written = page.read_text()
    rows = re.findall(r"(?m)^\| .*\|$", written)
    assert all(row in printed for row in rows)
    for kind in ("-O", "-H"):
        assert re.search(rf"\| {kind}, \d+ features, epoch \| [\d.]+ \[", written)
    for what in (
        "sample, scores, AP and MRR", "scores", "metrics given scores",
        "metrics given random scores", "kept", "not kept",
        "200 nodes", "400 nodes", "2,400 edges", "4,800 edges", "context 10", "context 20",
    ):  # fmt: skip
        assert any(row.startswith(f"| {what} |") for row in rows), what
    assert "missed" not in written and "1 turns after a warm-up" in written


def test_sizes_without_files_are_the_published_ones(bench, monkeypatch):
    module = importlib.import_module("graphs_bench")
    raw = module._graph(None, None, module.UCI, "UCI", None, num_nodes=1899, num_edges=59835,
                        num_steps=89)  # fmt: skip
    assert (raw.num_nodes, len(raw.source), raw.num_steps) == (1899, 59835, 89)
    assert "stand-in" in raw.name
    monkeypatch.setenv("FORETELL_TEST_DATA", "/somewhere")
    given = module._graph(None, lambda path: path, module.UCI, "UCI", None)
    assert str(given) == f"/somewhere/graphs/{module.UCI}"


def test_an_epoch_gives_the_gradients_of_the_peer(twins, monkeypatch):
    peer, ours = twins
    ours.take_weights(peer)
    peer.layers.eval()  # no random slopes
    ours.network.eval()
    sample = peer.sample(4)
    keys = sample.pairs[0] * 40 + sample.pairs[1]
    drawn = keys[sample.labels == 0].sort().values
    objectives = importlib.import_module("graphs.objectives")
    monkeypatch.setattr(objectives, "sample_negatives", lambda *args, **kwargs: drawn)
    theirs = peer.loss(peer.decode(peer.embed(sample), sample.pairs), sample.labels)
    own = ours.objective.loss(ours.network, ours.embed(4), ours.data, 4)
    torch.testing.assert_close(own, theirs, rtol=1e-5, atol=1e-7)
    theirs.backward()
    own.backward()
    for layer, other in zip(ours.network.embedder.layers, peer.layers, strict=True):
        torch.testing.assert_close(
            layer.evolution.cell.initial.grad, other.initial.grad, rtol=1e-4, atol=1e-6
        )
        torch.testing.assert_close(layer.score.grad, other.scorer.grad[:, 0], rtol=1e-4, atol=1e-6)
        for gate, name in enumerate(("update", "reset", "new")):
            torch.testing.assert_close(
                layer.evolution.cell.of_weight.grad[gate],
                getattr(other.cell, f"U_{name}").grad, rtol=1e-4, atol=1e-6,
            )  # fmt: skip
    torch.testing.assert_close(
        ours.network.decoder.hidden.weight.grad, peer.decoder[0].weight.grad, rtol=1e-4, atol=1e-6
    )


def test_metrics_apart_are_refused(modules):
    ours = modules["ours"]

    tied = modules["otc"].Given(torch.zeros(4, 4))
    positives = torch.tensor([[0, 1], [1, 0]])
    ours.check_metrics((2 / 16, 0.5), tied, positives)  # ranks 1 to 4: MRR 1/4 to 1
    for wrong in ((0.2, 0.5), (2 / 16, 0.2)):
        with pytest.raises(AssertionError, match="of the peer"):
            ours.check_metrics(wrong, tied, positives)


def test_a_ratio_is_formed_turn_by_turn(modules, capsys):
    import timing

    peer = [timing.Seconds(cpu, wall) for cpu, wall in ((4.0, 8.0), (6.0, 6.0), (20.0, 20.0))]
    own = [timing.Seconds(cpu, cpu) for cpu in (2.0, 1.0, 5.0)]
    page = importlib.import_module("page").Page("x")
    page.ratio("x", {"peer": peer, "ours": own}, aim=5.0, scale=2)
    row = capsys.readouterr().out
    assert row.startswith("| x | 12.000 [10.000, 26.000] | 2.000 [1.500, 3.500] | 8.00 [")
    assert row.rstrip().endswith("| >= 5 | met |")
    page.at_most("y", own, 1.5)
    assert capsys.readouterr().out == "| y | 2.000 [1.500, 3.500] | 1.5 | missed |\n"


@pytest.mark.parametrize("version", ["o", "h"])
def test_the_graph_of_scale_is_learned_once_and_scored(bench, tmp_path, version):
    page = tmp_path / "scale.md"
    output = bench(
        "graphs_scale.py", "--nodes", "500", "--edges", "6000", "--steps", "6", "--width", "4",
        "--version", version, "--out", str(page),
    )  # fmt: skip
    found = json.loads(output.splitlines()[-1])
    assert 0.4 < found["ap_evolvegcn"] <= 1 and 0.6 < found["ap_decayed_pairs"] <= 1
    assert found["peak_gib"] > 0.05 and found["epoch_wall_s"] > 0
    assert output.count("step ") == 4  # label steps 1 to 4; the last is held out
    text = page.read_text()
    assert f"{found['positives']:,}" in text and f"EvolveGCN-{version.upper()}" in text


def test_positives_of_scale_are_parts_of_one_permutation(modules):
    keys = torch.arange(0, 100, 3)
    parts = list(modules["scale"]._parts(keys, 4))
    assert len(parts) == 4 and torch.equal(torch.cat(parts).sort().values, keys)
    assert all(torch.equal(part, part.sort().values) for part in parts)


def test_held_out_pairs_are_seeded_and_half_positive(modules):
    sequence = modules["scale"].heavy_tailed(300, 3, 1000)
    pairs, positive = modules["scale"].held_out(sequence)
    again, _ = modules["scale"].held_out(sequence)
    assert torch.equal(pairs, again) and int(positive.sum()) * 2 == len(positive)
    keys = (pairs[0] * 300 + pairs[1]).numpy()
    assert (np.diff(keys) > 0).all()
    assert torch.equal(pairs[:, positive], sequence[-1].edge_index)
