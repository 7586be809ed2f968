"""Edges become snapshots by the rules of steps; independent loops are the oracle."""

import logging
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from foretell.errors import UserError
from graphs.data.events import EdgeEvents, build_sequence
from graphs.data_config import DataConfig


def events(rows, *, nodes=5, **fields) -> EdgeEvents:
    """Of (source, target, time) rows."""
    source, target, time = np.array(rows, np.float64).reshape(-1, 3).T
    return EdgeEvents(
        name="rows",
        source=source.astype(np.int64),
        target=target.astype(np.int64),
        node_ids=np.arange(nodes),
        time_s=np.ascontiguousarray(time),
        **fields,
    )


def pairs(snapshot) -> dict:
    return {
        (int(u), int(v)): float(w)
        for u, v, w in zip(*snapshot.edge_index, snapshot.weight, strict=True)
    }


ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.floats(0, 400, width=32)), min_size=1
)


@given(
    ROWS, st.booleans(), st.sampled_from([10.0, 7.5, 100.0]), st.sampled_from(["first", "epoch"])
)
@settings(max_examples=40, deadline=None)
def test_snapshots_equal_a_loop_over_rows(rows, directed, step_s, align):
    first = min(int(time) for *_, time in rows)
    begin = first // step_s if align == "epoch" else None
    expected = defaultdict(lambda: defaultdict(float))
    for source, target, time in rows:
        step = int(time) // step_s - begin if align == "epoch" else (int(time) - first) // step_s
        expected[int(step)][source, target] += 1
        if not directed:
            expected[int(step)][target, source] += 1
    config = DataConfig(step_s=step_s, align=align, directed=directed)
    sequence = build_sequence(events(rows), config)
    assert len(sequence) == max(expected) + 1
    for step, snapshot in enumerate(sequence):
        assert pairs(snapshot) == dict(expected[step])
    assert sequence.start_s == (first if align == "first" else begin * step_s)


def test_the_order_of_rows_has_no_effect_and_is_told(caplog):
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.integers(0, 5, (200, 2)), np.sort(rng.uniform(0, 1e6, 200))])
    fields = {"weight": rng.random(200), "label": rng.integers(-1, 2, 200),
              "attributes": rng.random((200, 2)).astype(np.float32)}  # fmt: skip
    order = rng.permutation(200)
    shuffled = {name: values[order] for name, values in fields.items()}
    config = DataConfig(step_s=50_000.0)
    with caplog.at_level(logging.INFO, logger="graphs"):
        one = build_sequence(events(rows, **fields), config)
        assert "out of order" not in caplog.text
        two = build_sequence(events(rows[order], **shuffled), config)
    backwards = int((np.diff(rows[order][:, 2]) < 0).sum())
    assert f"{backwards} rows out of order of time; sorted" in caplog.text
    for left, right in zip(one, two, strict=True):
        assert torch.equal(left.edge_index, right.edge_index)
        assert torch.equal(left.edge_label, right.edge_label)
        torch.testing.assert_close(left.weight, right.weight)
        torch.testing.assert_close(left.edge_attr, right.edge_attr)


def test_weights_are_summed_attributes_averaged_and_labels_vote():
    given = events(
        [(0, 1, 0), (1, 0, 0), (0, 1, 1), (2, 2, 1)],
        weight=np.array([1.0, 2.0, 4.0, 0.5]),
        label=np.array([1, 0, 1, -1]),
        attributes=np.array([[1.0], [2.0], [6.0], [5.0]], np.float32),
    )
    both = build_sequence(given, DataConfig(step_s=10.0))[0]
    assert pairs(both) == {(0, 1): 7.0, (1, 0): 7.0, (2, 2): 1.0}
    assert both.edge_attr.tolist() == [[3.0], [3.0], [5.0]]
    assert both.edge_label.tolist() == [1, 1, -1]
    one_way = build_sequence(given, DataConfig(step_s=10.0, directed=True))[0]
    assert pairs(one_way) == {(0, 1): 5.0, (1, 0): 2.0, (2, 2): 0.5}
    assert one_way.edge_attr.tolist() == [[3.5], [2.0], [5.0]]
    assert one_way.edge_label.tolist() == [1, 0, -1]


def test_times_below_one_second_are_not_made_whole():
    rows = [(0, 1, 5.0), (0, 1, 5.3), (0, 1, 5.9)]
    assert len(build_sequence(events(rows), DataConfig(step_s=0.25))) == 4
    assert len(build_sequence(events(rows), DataConfig(step_s=1.0))) == 1


def test_empty_steps_stay_or_are_left_out_and_steps_are_limited():
    rows = [(0, 1, 0), (1, 2, 35), (2, 3, 47), (3, 4, 90)]
    everything = build_sequence(events(rows), DataConfig(step_s=10.0))
    assert [snapshot.num_edges for snapshot in everything] == [2, 0, 0, 2, 2, 0, 0, 0, 0, 2]
    dropped = build_sequence(events(rows), DataConfig(step_s=10.0, drop_empty=True))
    assert [snapshot.num_edges for snapshot in dropped] == [2, 2, 2, 2]
    short = build_sequence(events(rows), DataConfig(step_s=10.0, max_steps=4))
    assert [snapshot.num_edges for snapshot in short] == [2, 0, 0, 2]
    both = build_sequence(events(rows), DataConfig(step_s=10.0, max_steps=2, drop_empty=True))
    assert [pairs(snapshot) for snapshot in both] == [pairs(dropped[0]), pairs(dropped[1])]
    assert both.num_nodes == 5


def test_numbered_steps_and_fields_of_nodes_keep_their_number():
    numbered = replace(
        events([(0, 1, 0), (1, 2, 0)]), time_s=None, step=np.array([3, 5]), attribute_names=("a",)
    )

    def nodes(step):
        return {"value": torch.full((5,), float(step))}

    sequence = build_sequence(numbered, DataConfig(), nodes=nodes)
    assert [snapshot.num_edges for snapshot in sequence] == [2, 0, 2]
    assert sequence.step_s is None and sequence.attribute_names == ("a",)
    placed = build_sequence(
        numbered, DataConfig(drop_empty=True), first_step=0, num_steps=9, nodes=nodes
    )
    assert [float(snapshot.value[0]) for snapshot in placed] == [3.0, 5.0]
    with pytest.raises(UserError, match=r"numbers its steps, so data.step_s 60 has no meaning"):
        build_sequence(numbered, DataConfig(step_s=60.0))
    with pytest.raises(ValueError, match="lies after step 3"):
        build_sequence(numbered, DataConfig(), first_step=4)


@pytest.mark.parametrize(
    ("rows", "config", "message"),
    [
        ([], DataConfig(), "rows holds no edge"),
        ([(0, 1, 0), (0, 1, 1e9)], DataConfig(step_s=1.0), "1,000,000,001 steps of 1 s"),
        ([(0, 1, 0), (0, 1, 1e300)], DataConfig(step_s=1.0), "too small"),
        ([(0, 1, 0)], DataConfig(step_s=0.0), "above 0 seconds"),
    ],
)
def test_what_cannot_be_cut_is_told_in_one_line(rows, config, message):
    with pytest.raises(UserError, match=message):
        build_sequence(events(rows), config)


def test_dropped_rows_are_told_even_when_none_is_left():
    with pytest.raises(UserError, match="2 rows dropped: unknown node"):
        build_sequence(events([], dropped={"unknown node": 2}), DataConfig())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": np.zeros(2, np.int64)}, "either time_s or step"),
        ({"time_s": None}, "either time_s or step"),
        ({"target": np.array([1, 5])}, r"\[0, 5\)"),
        ({"weight": np.array([1.0, -1.0])}, "not negative"),
        ({"weight": np.array([1.0, np.nan])}, "finite"),
        ({"time_s": np.array([1.0, np.inf])}, "time_s must be finite"),
        ({"label": np.array([0, -2])}, "a class or -1"),
    ],
)
def test_wrong_arrays_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(events([(0, 1, 0), (0, 1, 1)]), **change)


def test_self_loops_are_counted_and_count_twice():
    given = events([(1, 1, 0), (0, 1, 0), (2, 2, 0)])
    assert given.num_self_loops == 2
    assert pairs(build_sequence(given, DataConfig())[0])[1, 1] == 2.0


@pytest.mark.slow
def test_a_million_edges_of_a_step_stay_vectorised():
    """4 M edges, 20 steps: a loop over rows would take minutes."""
    import time

    rng = np.random.default_rng(0)
    count, nodes = 4_000_000, 500_000
    many = EdgeEvents(
        name="many",
        source=rng.integers(0, nodes, count),
        target=rng.integers(0, nodes, count),
        node_ids=np.arange(nodes),
        time_s=rng.uniform(0, 20 * 86_400, count),
    )
    begin = time.process_time()
    sequence = build_sequence(many, DataConfig())
    assert time.process_time() - begin < 20
    total = sum(float(snapshot.weight.double().sum()) for snapshot in sequence)
    assert total == 2 * count
