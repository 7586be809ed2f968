"""Own recordings: round trip through the writer, and mistakes named."""

import json
import shutil

import numpy as np
import pytest

from foretell.errors import UserError
from lidar.config import DataConfig
from lidar.data.folder_log import flu_R_from_axes
from lidar.data.folder_writer import write_log
from lidar.data.index import open_dataset, prepare_index
from lidar.data.structures import Boxes
from lidar.geometry.se3 import se3, yaw_matrix


def config(root):
    return DataConfig(kind="folder", root=str(root), splits=["all"])


def some_boxes(count):
    return Boxes(
        boxes=np.arange(7.0 * count).reshape(count, 7) / 10,
        velocity_mps=np.full((count, 2), 0.5),
        category=("car",) * count,
        track_id=tuple(f"t{n}" for n in range(count)),
        num_points=np.arange(count),
    )


@pytest.fixture
def log_folder(tmp_path):
    rng = np.random.default_rng(0)
    sweeps = [rng.uniform(0, 1, (40 + i, 4)).astype(np.float32) for i in range(6)]
    poses = se3(yaw_matrix(np.linspace(0, 0.5, 6)), np.arange(18.0).reshape(6, 3))
    return write_log(
        tmp_path / "root" / "drive_a",
        sweeps,
        times_s=1.6e9 + np.arange(6) * 0.1,
        global_SE3_ego=poses,
        axes="rfu",
        sensor_height_m=1.9,
        boxes={1: some_boxes(2), 4: some_boxes(1)},
        ego_SE3_lidar=se3(yaw_matrix(0.1), np.array([1.0, 0.0, 1.9])),
        ego_box=[-1, 1, -2, 2],
    )


def test_written_logs_read_back(log_folder):
    dataset = open_dataset(config(log_folder.parent))
    log = dataset.log("drive_a")
    assert [len(log.sweep(i).points) for i in range(6)] == [40, 41, 42, 43, 44, 45]
    poses = np.load(log_folder / "poses.npy")
    np.testing.assert_array_equal(log.global_SE3_ego, poses)
    mount = se3(yaw_matrix(0.1), np.array([1.0, 0.0, 1.9]))
    np.testing.assert_allclose(log.global_SE3_lidar, poses @ mount)
    np.testing.assert_allclose(np.diff(log.timestamps_ns), 100_000_000, atol=500)
    assert dataset.sensor.height_m == 1.9 and dataset.sensor.ego_box == (-1, 1, -2, 2)
    np.testing.assert_array_equal(dataset.sensor.flu_R_lidar, flu_R_from_axes("rfu"))
    assert log.boxes(0) is None
    boxes, written = log.boxes(1), some_boxes(2)
    np.testing.assert_allclose(boxes.boxes[:, :6], written.boxes[:, :6])
    np.testing.assert_array_equal(boxes.velocity_mps, written.velocity_mps)
    assert (boxes.category, boxes.track_id) == (written.category, written.track_id)


def test_the_log_itself_may_be_the_root(log_folder):
    assert list(open_dataset(config(log_folder)).logs) == ["drive_a"]


def test_a_log_named_by_a_dot_keeps_its_name(log_folder, monkeypatch):
    monkeypatch.chdir(log_folder)
    assert list(open_dataset(config(".")).logs) == ["drive_a"]


def test_parquet_boxes_equal_npz_boxes(log_folder):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")

    before = open_dataset(config(log_folder.parent)).log("drive_a").boxes(1)
    with np.load(log_folder / "boxes.npz") as columns:
        table = {name: columns["box"][:, n] for n, name in enumerate(
            ("x", "y", "z", "l", "w", "h", "yaw"))}  # fmt: skip
        table |= {name: columns[name] for name in ("sweep", "category", "track_id", "num_points")}
        table |= {"vx": columns["velocity"][:, 0], "vy": columns["velocity"][:, 1]}
    (log_folder / "boxes.npz").unlink()
    parquet.write_table(pyarrow.table(table), log_folder / "boxes.parquet")
    prepare_index(config(log_folder.parent))
    after = open_dataset(config(log_folder.parent)).log("drive_a").boxes(1)
    np.testing.assert_array_equal(after.boxes, before.boxes)
    assert after.track_id == before.track_id


def test_sweeps_may_be_npy_and_times_may_follow_from_the_rate(log_folder):
    for path in sorted((log_folder / "points").iterdir()):
        np.save(path.with_suffix(".npy"), np.fromfile(path, "<f4").reshape(-1, 4))
        path.unlink()
    (log_folder / "times.txt").unlink()
    edit(log_folder, rate_hz=20.0, labelled="all")
    log = open_dataset(config(log_folder.parent)).log("drive_a")
    assert log.sweep(5).points.shape == (45, 4)
    np.testing.assert_array_equal(np.diff(log.timestamps_ns), 50_000_000)
    assert len(log.boxes(0)) == 0
    np.save(log_folder / "points" / "000000.npy", np.ones((3, 5), np.float32))
    with pytest.raises(UserError, match=r"000000.npy holds float32 \[3, 5\]; .*\[N, 4\]"):
        log.sweep(0)


def test_without_a_mount_the_poses_are_the_lidars_own(log_folder):
    drop(log_folder, "ego_SE3_lidar")
    log = open_dataset(config(log_folder.parent)).log("drive_a")
    np.testing.assert_allclose(log.global_SE3_lidar, np.load(log_folder / "poses.npy"))
    np.testing.assert_allclose(log.up(3), [0, 0, 1], atol=1e-12)
    forward = log.global_SE3_ego[2][:3, 0]  # y of the LiDAR axes rfu
    np.testing.assert_allclose(forward, log.global_SE3_lidar[2][:3, 1], atol=1e-12)


def test_axes_are_rotations():
    np.testing.assert_array_equal(flu_R_from_axes("flu"), np.eye(3))
    point = flu_R_from_axes("lbu") @ [1.0, 2.0, 3.0]  # ONCE: 1 m left, 2 m back
    np.testing.assert_array_equal(point, [-2, 1, 3])
    with pytest.raises(ValueError, match="right-handed"):
        flu_R_from_axes("fru")


def edit(folder, **changes):
    content = json.loads((folder / "log.json").read_text()) | changes
    (folder / "log.json").write_text(json.dumps(content))


def drop(folder, key):
    content = json.loads((folder / "log.json").read_text())
    del content[key]
    (folder / "log.json").write_text(json.dumps(content))


BAD = {
    "misspelt key": (lambda f: edit(f, sensor_hight_m=2), r"did you mean 'sensor_height_m'"),
    "missing key": (lambda f: drop(f, "axes"), r"lacks the key 'axes'"),
    "axes": (lambda f: edit(f, axes="fxu"), r"axes must be three of the letters"),
    "columns": (lambda f: edit(f, columns=["y", "x", "z", "i"]), r"must begin with x, y, z"),
    "intensity": (lambda f: edit(f, intensity="db"), r"intensity must be one of"),
    "no JSON": (
        lambda f: (f / "log.json").write_text("{"),
        r"cannot read .*log.json: .*; write it again \(docs/own_data.md\)",
    ),
    "no log.json": (
        lambda f: [
            shutil.copytree(f, f.parent / "drive_b"),
            (f / "log.json").unlink(),
            (f.parent / "splits.json").write_text('{"train": ["drive_a"]}'),
        ],
        r"split 'train' names 'drive_a', but .*drive_a/log.json is missing; write it",
    ),
    "mount": (
        lambda f: edit(f, ego_SE3_lidar=np.zeros((4, 4)).tolist()),
        r"log.json: ego_SE3_lidar is not a rigid motion",
    ),
    "times NaN": (
        lambda f: np.savetxt(f / "times.txt", [0, 1, np.nan, 3, 4, 5]),
        r"times.txt: row 3 is nan, no time in seconds",
    ),
    "short poses": (
        lambda f: np.save(f / "poses.npy", np.tile(np.eye(4), (3, 1, 1))),
        r"poses has 3 rows for 6 sweep files",
    ),
    "pose shape": (lambda f: np.save(f / "poses.npy", np.eye(4)), r"must be \[T, 4, 4\]"),
    "no poses": (lambda f: (f / "poses.npy").unlink(), r"needs poses.npy or poses.txt"),
    "short times": (lambda f: np.savetxt(f / "times.txt", [0, 1]), r"times.txt has 2 rows for 6"),
    "no times": (lambda f: (f / "times.txt").unlink(), r"needs times.txt \(seconds\), or rate_hz"),
    "no sweeps": (
        lambda f: [p.unlink() for p in (f / "points").iterdir()],
        r"holds no .bin or .npy sweep",
    ),
    "other columns": (lambda f: edit(f, columns=["x", "y", "z"]), r"not a multiple of 12"),
    "splits": (
        lambda f: (f.parent / "splits.json").write_text('{"train": ["drive_b"]}'),
        r"names no log 'drive_b'; did you mean 'drive_a'",
    ),
    "box sweep": (
        lambda f: np.savez(
            f / "boxes.npz", sweep=[9], box=np.ones((1, 7)), category=["c"], track_id=["t"]
        ),
        r"names sweep 9; the log has 0\.\.5",
    ),
    "damaged poses": (lambda f: (f / "poses.npy").write_bytes(b""), r"cannot read .*poses.npy"),
    "damaged boxes": (
        lambda f: (f / "boxes.npz").write_bytes(b"xx"),
        r"boxes.npz is damaged .*; write it again \(docs/own_data.md\)",
    ),
    "truncated boxes": (
        lambda f: (f / "boxes.npz").write_bytes((f / "boxes.npz").read_bytes()[:300]),
        r"boxes.npz is damaged .*; write it again \(docs/own_data.md\)",
    ),
    "box rows": (
        lambda f: np.savez(
            f / "boxes.npz", sweep=[1, 2], box=np.ones((2, 7)), category=["c"], track_id=["t"] * 2
        ),
        r"boxes.npz: category has 1 rows for 2 boxes",
    ),
    "box velocity": (
        lambda f: np.savez(
            f / "boxes.npz",
            sweep=[1],
            box=np.ones((1, 7)),
            category=["c"],
            track_id=["t"],
            velocity=np.ones((2, 2)),
        ),
        r"boxes.npz: cannot reshape",
    ),
    "box NaN": (
        lambda f: np.savez(
            f / "boxes.npz", sweep=[1], box=np.full((1, 7), np.nan), category=["c"], track_id=["t"]
        ),
        r"boxes.npz: box has NaN",
    ),
    "box column": (lambda f: np.savez(f / "boxes.npz", sweep=[0]), r"boxes.npz lacks 'box'"),
}


@pytest.mark.parametrize("case", BAD)
def test_mistakes_are_named_in_one_line(log_folder, case):
    change, message = BAD[case]
    change(log_folder)
    with pytest.raises(UserError, match=message):
        prepare_index(config(log_folder.parent))


def test_folders_without_a_description_are_reported(log_folder):
    shutil.copytree(log_folder, log_folder.parent / "drive_b")
    (log_folder / "log.json").unlink()
    assert prepare_index(config(log_folder.parent)).skipped == (f"{log_folder}: no log.json",)


def test_no_log_and_different_sensors(log_folder, tmp_path):
    with pytest.raises(UserError, match=r"docs/own_data.md"):
        prepare_index(config(tmp_path))
    write_log(
        log_folder.parent / "drive_b",
        [np.ones((3, 4), np.float32)],
        times_s=np.zeros(1),
        global_SE3_ego=np.eye(4)[None],
    )
    with pytest.raises(UserError, match=r"drive_b.* describes another sensor"):
        prepare_index(config(log_folder.parent))


def test_writer_refuses_unequal_lengths(tmp_path):
    with pytest.raises(ValueError, match="1 sweeps, 2 times"):
        write_log(
            tmp_path / "x",
            [np.ones((3, 4), np.float32)],
            times_s=np.arange(2.0),
            global_SE3_ego=np.tile(np.eye(4), (2, 1, 1)),
        )
