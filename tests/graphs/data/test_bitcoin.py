"""Ratings: facts of the recorded file, labels by majority, no rating among the inputs."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from foretell.errors import UserError
from graphs.data.bitcoin import read_bitcoin
from graphs.data.readers import read_graph
from graphs.data.splits import split_steps
from graphs.data_config import ColumnsConfig, DataConfig, SplitConfig

FILE = "soc-sign-bitcoinotc.csv"


@pytest.fixture(scope="module")
def otc(recorded):
    return read_graph(DataConfig(path=str(recorded / FILE)))


def test_facts_of_otc(recorded, otc):
    events = read_bitcoin(recorded / FILE)
    assert len(events) == 35_592 and len(events.node_ids) == 5_881
    assert events.num_self_loops == 0
    assert len(otc) == 138 and otc.num_nodes == 5_881 and otc.step_s == 1_200_000
    assert sum(float(snapshot.weight.sum()) for snapshot in otc) == 2 * 35_592
    assert min(snapshot.num_edges for snapshot in otc) > 0
    assert otc.node_ids.tolist() == sorted(otc.node_ids.tolist())


def test_steps_labels_and_weights_equal_a_loop_over_the_file(recorded, otc):
    rows = [line.split(",") for line in (recorded / FILE).read_text().split()]
    first = min(int(float(row[3])) for row in rows)
    votes = defaultdict(Counter)
    for source, target, rating, time in rows:
        step = int((int(float(time)) - first) // 1.2e6)
        for pair in ((source, target), (target, source)):
            votes[step, int(pair[0]), int(pair[1])][int(int(rating) > 0)] += 1
    seen = 0
    for step, snapshot in enumerate(otc):
        columns = (*otc.node_ids[snapshot.edge_index.numpy()], snapshot.weight, snapshot.edge_label)
        for source, target, weight, label in zip(*columns, strict=True):
            vote = votes[step, source, target]
            assert (weight, label) == (vote.total(), int(vote[1] > vote[0]))
            seen += 1
    assert seen == len(votes)


def test_published_label_counts(otc):
    split = split_steps(len(otc), SplitConfig(), context=10, links=False)
    counts = []
    for steps in (split.train, split.val, split.test):
        labels = [otc[step].edge_label for step in steps]
        counts.append((sum(len(one) for one in labels), sum(int(one.sum()) for one in labels)))
    assert counts == [(42_434, 36_434), (2_678, 2_156), (1_514, 1_352)]
    assert sum(len(otc[step].edge_label.unique()) < 2 for step in split.test) == 7
    assert len(split.test) == 29


def test_weeks_since_1970_that_have_an_edge(recorded):
    config = DataConfig(
        path=str(recorded / FILE), step_s=604_800.0, align="epoch", directed=True, drop_empty=True
    )
    assert len(read_graph(config)) == 273
    assert read_graph(config).start_s % 604_800 == 0


def test_the_rating_is_no_input_unless_asked_for(recorded, otc):
    assert otc[0].edge_attr is None and otc.class_names == ("negative", "positive")
    columns = ColumnsConfig(attributes=["rating"])
    asked = read_graph(DataConfig(path=str(recorded / FILE), columns=columns))
    assert asked.attribute_names == ("rating",)
    assert asked[0].edge_label is None  # what makes the label is never both
    assert asked[0].edge_attr.min() >= -10 and asked[0].edge_attr.max() <= 10
    assert asked[0].edge_index.tolist() == otc[0].edge_index.tolist()


def test_alpha_has_the_same_format(write):
    path = write("soc-sign-bitcoinalpha.csv", "7188,1,10,1407470400", "430,1,-10,1376539200")
    sequence = read_graph(DataConfig(path=str(path)))
    assert sequence.node_ids.tolist() == [1, 430, 7188] and sequence.step_s == 1_200_000
    assert len(sequence) == int((1407470400 - 1376539200) // 1.2e6) + 1
    assert sequence[0].edge_label.tolist() == [0, 0] and sequence[-1].edge_label.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1,2,3,100", "1,2,11,100"], "line 2: rating 11 lies outside -10..10"),
        (["1,2,3,100", "1,2,3,yesterday"], "line 2: time 'yesterday' is not a finite number"),
        (["1,2,3,100", "1,2,3"], r"line 2 has 3 column\(s\), not 4"),
    ],
)
def test_a_damaged_line_is_told(write, lines, message):
    path = write(FILE, *lines)
    with pytest.raises(UserError, match=message):
        read_graph(DataConfig(path=str(path), kind="bitcoin"))


def test_duplicate_heavy_data_are_few_pairs(write):
    path = write(FILE, *["1,2,3,100", "2,1,-3,101"] * 20_000)
    snapshot = read_graph(DataConfig(path=str(path)))[0]
    assert snapshot.num_edges == 2 and snapshot.weight.tolist() == [40_000.0] * 2
    assert snapshot.edge_label.tolist() == [0, 0]  # a tie
    assert np.isfinite(snapshot.weight.numpy()).all()
