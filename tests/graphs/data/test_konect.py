"""KONECT files: facts of the recorded ones, headers, damage."""

import pytest

from foretell.errors import UserError
from graphs.data.konect import read_konect
from graphs.data.readers import read_graph
from graphs.data_config import DataConfig

HEAD = ["% asym positive", "% 3 4 4"]
ROWS = ["1 2 1 100", "2\t3 2  86500", "4 4 1 200000"]


@pytest.mark.parametrize(
    ("file", "nodes", "rows", "steps", "step_s", "empty", "loops"),
    [
        ("out.opsahl-ucsocial", 1_899, 59_835, 89, 190_080.0, 0, 0),
        ("out.radoslaw_email", 167, 82_927, 272, 86_400.0, 32, 51),
    ],
)
def test_facts_of_recorded_files(recorded, file, nodes, rows, steps, step_s, empty, loops):
    events = read_konect(recorded / file)
    assert (len(events.node_ids), len(events), events.num_self_loops) == (nodes, rows, loops)
    assert events.node_ids.tolist() == list(range(1, nodes + 1))  # ids from 1
    sequence = read_graph(DataConfig(path=str(recorded / file)))
    assert (len(sequence), sequence.step_s) == (steps, step_s)
    assert sum(snapshot.num_edges == 0 for snapshot in sequence) == empty
    assert sum(float(snapshot.weight.sum()) for snapshot in sequence) == 2 * rows


def test_weeks_of_live_update(recorded):
    config = DataConfig(
        path=str(recorded / "out.opsahl-ucsocial"),
        step_s=604_800.0,
        align="epoch",
        directed=True,
        drop_empty=True,
    )
    sequence = read_graph(config)
    assert len(sequence) == 28 and sequence.directed
    assert sum(float(snapshot.weight.sum()) for snapshot in sequence) == 59_835


def test_weights_times_and_loops(write):
    sequence = read_graph(DataConfig(path=str(write("out.toy", *HEAD, *ROWS))))
    assert [snapshot.num_edges for snapshot in sequence] == [2, 2, 1]
    assert sequence[1].weight.tolist() == [2.0, 2.0] and sequence[2].weight.tolist() == [2.0]
    assert sequence.step_s == 86_400 and sequence.node_ids.tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*HEAD, *ROWS[:2]], "line 2 promises 3 edges, but 2 rows follow; the file is cut short"),
        ([*HEAD, *ROWS[:2], "4 4 1"], r"line 5 has 3 column\(s\), not 4 \(source, target, weight"),
        ([*HEAD, *ROWS, "1 2 -1 7"], "line 6: weight -1 must not be negative"),
        ([*HEAD, *ROWS, "1 2 nan 7"], "line 6: weight 'nan' is not a finite number"),
        ([*HEAD, *ROWS, "a 2 1 7"], "line 6: source 'a' is not a whole number"),
        (["% bip unweighted", *ROWS], "is bipartite"),
        (["% asym", "1 2", "2 3"], r"line 2 has 2 column\(s\), not 4"),
        ([b"% caf\xe9", *ROWS], "line 1 is not UTF-8"),
        (HEAD, "holds no row of data"),
    ],
)
def test_damage_is_told(write, lines, message):
    path = write("out.toy", *lines)
    with pytest.raises(UserError, match=message):
        read_graph(DataConfig(path=str(path)))
