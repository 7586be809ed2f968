"""The index: refused when stale, whole or absent, small in every process."""

import json
import pickle

import numpy as np
import pytest

from foretell.errors import UserError
from lidar.config import DataConfig
from lidar.data.index import index_folder, open_dataset, open_index, prepare_index
from lidar.data.index_columns import INDEX_VERSION, MappedColumns


@pytest.fixture
def data(tmp_path, write_kitti):
    write_kitti(tmp_path)
    write_kitti(tmp_path, 6, name="08")
    return DataConfig(kind="kitti", root=str(tmp_path))


def test_columns_of_several_logs_are_kept_apart(data):
    report = prepare_index(data)
    assert [(log.name, log.sweeps, log.boxes) for log in report.logs] == [
        ("00", 12, 0),
        ("08", 6, 0),
    ]
    dataset = open_index(data)
    assert dataset.splits == {"train": ["00"], "val": ["08"]}
    assert len(dataset.log("08")) == 6
    assert dataset.log("08").arrays["file"][12] == b"sequences/08/velodyne/000000.bin"
    np.testing.assert_array_equal(dataset.log("08").sweep(2).points.shape, (500, 4))


def test_missing_index_names_the_command_and_opening_a_data_set_writes_it(data):
    command = f"foretell lidar prepare --data.kind kitti --data.root {data.root}"
    with pytest.raises(UserError, match=command):
        open_index(data)
    open_dataset(data)
    open_index(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "calib.txt").write_text("Tr: 1 0 0 0 0 1 0 0 0 0 1 0\n"),
        lambda folder: (folder / "velodyne" / "000011.bin").unlink(),
        lambda folder: np.savetxt(folder / "times.txt", np.arange(12) / 20),
    ],
)
def test_changed_sources_refuse_the_old_index(data, tmp_path, change):
    open_dataset(data)
    change(tmp_path / "sequences" / "00")
    with pytest.raises(
        UserError, match=r"made from other files .*; repeat: foretell lidar prepare"
    ):
        open_dataset(data)
    prepare_index(data)
    open_dataset(data)


def test_other_versions_and_damage_are_refused(data):
    open_dataset(data)
    schema_file = index_folder(data) / "schema.json"
    schema = json.loads(schema_file.read_text())
    schema_file.write_text(json.dumps(schema | {"version": 99}))
    with pytest.raises(UserError, match=f"version 99, this release reads {INDEX_VERSION}; repeat:"):
        open_dataset(data)
    schema_file.write_text("{")
    with pytest.raises(UserError, match=r"is damaged; repeat:"):
        open_dataset(data)


@pytest.mark.parametrize("num_sweeps", [4, 1000])  # read whole, mapped
@pytest.mark.parametrize("cut", [0, 60, -3])
def test_a_column_that_was_cut_is_refused(tmp_path, num_sweeps, cut):
    path = tmp_path / "timestamps_ns.npy"
    np.save(path, np.arange(num_sweeps))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=f"{path} is missing or damaged; .*lidar prepare`"):
        MappedColumns(tmp_path)["timestamps_ns"]


def test_an_index_that_says_nothing_of_what_is_missing_opens(data):
    schema_file = prepare_index(data).folder / "schema.json"
    schema = json.loads(schema_file.read_text())
    assert schema.pop("skipped") == []
    schema_file.write_text(json.dumps(schema))
    assert open_dataset(data).left_out == ""


def test_a_failed_preparation_leaves_the_old_index(data, tmp_path, monkeypatch):
    prepare_index(data)
    before = sorted(path.name for path in index_folder(data).iterdir())

    def full_disk(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full_disk)
        with pytest.raises(UserError, match=r"No space left on device; free space or choose"):
            prepare_index(data)
    assert sorted(path.name for path in index_folder(data).iterdir()) == before
    assert [p.name for p in index_folder(data).parent.iterdir()] == ["kitti"]
    open_dataset(data)


def test_the_index_may_live_elsewhere(data, tmp_path):
    import dataclasses

    elsewhere = dataclasses.replace(data, index=str(tmp_path / "elsewhere"))
    report = prepare_index(elsewhere)
    assert report.folder == tmp_path / "elsewhere" / "kitti"
    (tmp_path / "file").write_text("")
    blocked = dataclasses.replace(data, index=str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"choose a writable folder with --data.index DIR"):
        prepare_index(blocked)


def test_columns_are_not_pickled(data):
    dataset = open_dataset(data)
    log = dataset.log("00")
    assert len(log.timestamps_ns) == 12
    assert len(pickle.dumps(log.arrays)) < 1000
    again = pickle.loads(pickle.dumps(log))
    np.testing.assert_array_equal(again.timestamps_ns, log.timestamps_ns)


def test_large_columns_are_mapped(tmp_path):
    np.save(tmp_path / "box.npy", np.zeros((2000, 7)))
    columns = MappedColumns(tmp_path)
    assert isinstance(columns["box"], np.memmap)
    with pytest.raises(KeyError):
        columns["unknown"]


def test_opening_parses_no_source_table(data, monkeypatch):
    open_dataset(data)
    monkeypatch.setattr("lidar.data.index.read_source", None)
    assert len(open_dataset(data).logs) == 2


def test_log_and_split_names_with_the_nearest_match(data):
    dataset = open_dataset(data)
    with pytest.raises(UserError, match=r"no log '80' .*it has 00, 08; did you mean '08'"):
        dataset.log("80")
    with pytest.raises(UserError, match=r"no split or log 'trian' .*did you mean 'train'"):
        dataset.select(["trian"])
    with pytest.raises(UserError, match=r"leaves no sweep of log '00', which has 12"):
        dataset.select(["00[12:]"])
    assert [len(log) for log in dataset.select(["train[0%:75%]", "08[2:4]", "all"])] == [
        9,
        2,
        12,
        6,
    ]
