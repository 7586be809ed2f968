"""One entry for all formats: options without effect, speed, kinds of paths."""

import time

import pytest

from foretell.errors import UserError
from graphs.data.readers import read_graph
from graphs.data.splits import check_enough_steps
from graphs.data_config import ColumnsConfig, DataConfig, GeneratorConfig

RATING = "6,2,4,1289241911"


@pytest.mark.parametrize("file", ["soc-sign-bitcoinotc.csv", "out.opsahl-ucsocial"])
def test_sixty_thousand_rows_are_read_in_less_than_a_second(recorded, file):
    read_graph(DataConfig(path=str(recorded / file), max_steps=1))  # imports
    begin = time.process_time()
    read_graph(DataConfig(path=str(recorded / file)))
    assert time.process_time() - begin < 1.0


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DataConfig(), "data.path is empty: give a file or folder, or data.kind generated"),
        (DataConfig(kind="generated", path="x"), "no effect with data.kind generated"),
        (DataConfig(path="/nowhere/x.csv", kind="sbm"), "no such file or folder"),
    ],
)
def test_paths_that_do_not_fit_the_kind(config, message):
    with pytest.raises(UserError, match=message):
        read_graph(config)


def test_options_without_effect_are_refused(write, tmp_path):
    path = str(write("a.csv", RATING))
    with pytest.raises(UserError, match="read as bitcoin, where data.columns has no effect"):
        read_graph(DataConfig(path=path, columns=ColumnsConfig(weight="rating")))
    with pytest.raises(UserError, match="drop_time_column has no effect with bitcoin"):
        read_graph(DataConfig(path=path, drop_time_column=True))
    with pytest.raises(UserError, match="is a file; data.kind elliptic needs a folder"):
        read_graph(DataConfig(path=path, kind="elliptic"))
    with pytest.raises(UserError, match="is a folder; data.kind bitcoin needs a file"):
        read_graph(DataConfig(path=str(tmp_path), kind="bitcoin"))
    with pytest.raises(UserError, match="has times, not numbers of steps"):
        read_graph(DataConfig(path=path, step_s=0.0))


def test_data_of_one_snapshot_are_told(write):
    sequence = read_graph(DataConfig(path=str(write("a.csv", RATING, RATING))))
    with pytest.raises(UserError, match=r"a.csv has 1 snapshot\(s\) of 1,200,000 s; link"):
        check_enough_steps(sequence, 2, "link prediction")


def test_the_generator_is_a_kind(tmp_path):
    generator = GeneratorConfig(num_nodes=60, num_steps=4, edges_per_step=200, migrating=3)
    sequence = read_graph(DataConfig(kind="generated", generator=generator))
    assert len(sequence) == 4 and sequence.num_nodes == 60
    assert len(read_graph(DataConfig(kind="generated", generator=generator, max_steps=2))) == 2
