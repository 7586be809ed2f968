"""Reber words through random graphs: which graphs, which weights count, a row from end to end."""

import csv

import reber_graphs
import run_all
from experiment import SEEDS

from foretell.blocks.pruning import WeightMask


def test_sizes_are_the_same_in_both_families_and_graphs_for_all_cells():
    for index in (0, 7, 19):
        one, other = (reber_graphs.draw_graph(f"{family}_gru", index) for family in ("ba", "ws"))
        again = reber_graphs.draw_graph("ba_lstm", index)
        sizes = [sum(map(len, graph.layers)) for graph in (one, other)]
        assert sizes[0] == sizes[1] and 10 <= sizes[0] <= 30
        assert one.layers == again.layers and one.num_edges == again.num_edges


def test_every_graph_belongs_to_one_seed():
    count = reber_graphs.SETTINGS.num_graphs
    shares = [list(range(seed, count, len(SEEDS))) for seed in SEEDS]
    assert sorted(sum(shares, [])) == list(range(count))


def test_masked_weights_do_not_count():
    model = reber_graphs.build("ba_tanh", 0)
    graph = reber_graphs.draw_graph("ba_tanh", 0)
    masks = [part.mask for part in model.modules() if isinstance(part, WeightMask)]
    assert sum(int(mask.sum()) for mask in masks) == graph.num_edges
    dense = sum(weight.numel() for weight in model.parameters())
    missing = sum(mask.numel() for mask in masks) - graph.num_edges
    assert reber_graphs.learned_weights(model) == dense - missing


def test_a_row_of_every_variant_through_the_command(tmp_path):
    run_all.main(["--smoke", "--task", "reber_graphs", "--out", str(tmp_path)])
    with (tmp_path / "blocks_reber_graphs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["variant"] for row in rows] == [
        f"{family}_{cell}" for family in ("ba", "ws") for cell in ("tanh", "relu", "gru", "lstm")
    ]
    for row in rows:
        assert all(0 <= float(row[name]) <= 1 for name in ("median", "mean", "near"))
        assert row["chosen"] == "rate 0.003: 1"
    assert "WS is above BA (gru): **not run**" in (tmp_path / "blocks.md").read_text()
