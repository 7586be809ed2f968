"""The KITTI reader on real files (golden numbers, T5) and on damaged ones."""

import gzip

import numpy as np
import pytest
from scipy.spatial import cKDTree

from foretell.errors import UserError
from lidar.config import DataConfig
from lidar.data.index import open_dataset, prepare_index
from lidar.data.kitti import read_points, read_pose_rows
from lidar.geometry.se3 import invert, transform_points


def prepare(root):
    return prepare_index(DataConfig(kind="kitti", root=str(root)))


def test_golden_counts_and_sums(kitti_drive):
    log = open_dataset(DataConfig(kind="kitti", root=str(kitti_drive))).log("00")
    assert len(log) == 48
    sweep = log.sweep(0)
    assert sweep.points.shape == (122546, 4)
    np.testing.assert_allclose(
        sweep.points.sum(0, dtype=np.float64),
        [-70946.37686381, 112398.44803716, -147102.66201298, 31503.61006715],
    )
    assert log.sweep(47).points.shape[1] == 4
    np.testing.assert_array_equal(np.diff(log.timestamps_ns), 100_000_000)


def test_plain_and_gzipped_sweeps_of_the_odometry_set(test_data):
    folder = test_data / "lidar" / "kitti_odom_00" / "velodyne"
    plain, packed = read_points(folder / "000000.bin"), read_points(folder / "000002.bin.gz")
    assert (plain.shape, packed.shape) == ((124668, 4), (124478, 4))
    raw = np.frombuffer(gzip.decompress((folder / "000002.bin.gz").read_bytes()), "<f4")
    np.testing.assert_array_equal(packed.ravel(), raw)
    assert 0 <= plain[:, 3].min() and plain[:, 3].max() <= 1


@pytest.mark.parametrize(("first", "last"), [(8, 18), (30, 40)])
def test_poses_lay_ten_frames_on_each_other(kitti_drive, first, last):
    """T5: off-ground nearest-neighbour median < 0.12 m, > 0.5 m without poses."""
    log = open_dataset(DataConfig(kind="kitti", root=str(kitti_drive))).log("00")
    clouds = [p[(p[:, 2] > -1.2) & (np.linalg.norm(p, axis=1) > 3)]
              for p in (log.sweep(first).points[:, :3], log.sweep(last).points[:, :3])]  # fmt: skip
    tree = cKDTree(clouds[0])
    probe = clouds[1][:: len(clouds[1]) // 4000]
    pose = invert(log.global_SE3_lidar[first]) @ log.global_SE3_lidar[last]
    assert np.median(tree.query(transform_points(pose, probe))[0]) < 0.12
    assert np.median(tree.query(probe)[0]) > 0.5
    assert np.median(tree.query(transform_points(invert(pose), probe))[0]) > 0.5


def test_published_poses_are_rows_of_three_by_four(test_data):
    folder = test_data / "lidar" / "kitti_odom_00"
    poses = read_pose_rows(folder / "poses_kiss_icp_lidar_frame.txt")
    assert poses.shape == (6, 4, 4)
    first, last = (read_points(folder / "velodyne" / n) for n in ("000000.bin", "000005.bin.gz"))
    off_ground = [p[p[:, 2] > -1.2] for p in (first, last)]
    moved = transform_points(invert(poses[0]) @ poses[5], off_ground[1][::30])
    assert np.median(cKDTree(off_ground[0][:, :3]).query(moved)[0]) < 0.07  # published: .048


def test_camera_poses_become_lidar_poses(tmp_path, write_kitti):
    """velo(0)_SE3_velo(i) = Tr^-1 P_i Tr: camera z (forward) is LiDAR x."""
    write_kitti(tmp_path)
    log = open_dataset(DataConfig(kind="kitti", root=str(tmp_path))).log("00")
    np.testing.assert_allclose(
        log.global_SE3_lidar[3], [[1, 0, 0, 1.5], *np.eye(4)[1:]], atol=1e-12
    )


def test_poses_may_lie_beside_the_sequences_and_sweeps_may_start_late(tmp_path, write_kitti):
    folder = write_kitti(tmp_path)
    (tmp_path / "poses").mkdir()
    (folder / "poses.txt").rename(tmp_path / "poses" / "00.txt")
    for i in range(3):
        (folder / "velodyne" / f"{i:06d}.bin").unlink()
    log = open_dataset(DataConfig(kind="kitti", root=str(tmp_path))).log("00")
    assert len(log) == 9
    assert log.global_SE3_lidar[0, 0, 3] == pytest.approx(1.5)
    assert log.timestamps_ns[0] == 300_000_000


def test_sequences_without_poses_are_reported_not_dropped_silently(tmp_path, write_kitti):
    write_kitti(tmp_path)
    (write_kitti(tmp_path, name="11") / "poses.txt").unlink()
    report = prepare(tmp_path)
    assert [log.name for log in report.logs] == ["00"]
    assert "sequence 11: no poses" in report.skipped[0]


def truncate(folder):
    path = folder / "velodyne" / "000003.bin"
    path.write_bytes(path.read_bytes()[:-3])


def shorten(name, rows):
    def change(folder):
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(lines[:rows]))

    return change


def write_times(times):
    return lambda folder: np.savetxt(folder / "times.txt", times)


BAD = {
    "truncated sweep": (truncate, r"000003.bin has 7997 bytes, not a multiple of 16"),
    "empty sweep": (
        lambda f: (f / "velodyne" / "000003.bin").write_bytes(b""),
        r"000003.bin is empty",
    ),
    "short poses": (
        shorten("poses.txt", 7),
        r"poses.txt has 7 rows, but .*000011.bin needs row 12",
    ),
    "short times": (shorten("times.txt", 7), r"times.txt has 7 rows"),
    "no times": (lambda f: (f / "times.txt").unlink(), r"times.txt is missing"),
    "no calibration": (lambda f: (f / "calib.txt").unlink(), r"calib.txt is missing"),
    "no Tr": (lambda f: (f / "calib.txt").write_text("P0: 1\n"), r"no row `Tr:`"),
    "calibration is no text": (
        lambda f: (f / "calib.txt").write_bytes(b"\xff\xfe\x00"),
        r"calib.txt is no text",
    ),
    "times repeat": (
        write_times([0, 0.1, 0.1, *np.arange(3, 12) / 10]),
        r"time of sweep 2 repeats that of sweep 1",
    ),
    "times fall": (
        write_times([0, 0.2, 0.1, *np.arange(3, 12) / 10]),
        r"time of sweep 2 precedes that of sweep 1",
    ),
    "times NaN": (
        write_times([0, 0.1, np.nan, *np.arange(3, 12) / 10]),
        r"times.txt: row 3 is nan, no time in seconds \(1 such row\(s\)\); correct it",
    ),
    "times in nanoseconds": (
        write_times(1.6e18 + np.arange(12) * 1e8),
        r"times.txt: row 1 is 1.6e\+18, no time in seconds",
    ),
    "singular calibration": (
        lambda f: (f / "calib.txt").write_text("Tr: 0 0 0 0 0 0 0 0 0 0 0 0\n"),
        r"calib.txt: the row Tr is not a rigid motion .* calibration archive",
    ),
    "text in poses": (lambda f: (f / "poses.txt").write_text("a b\n"), r"not a table of numbers"),
    "pose is no rotation": (
        lambda f: np.savetxt(f / "poses.txt", np.ones((12, 12))),
        r"pose of sweep 0 is not a rigid motion",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_damage_is_named_in_one_line(tmp_path, write_kitti, case):
    change, message = BAD[case]
    change(write_kitti(tmp_path))
    with pytest.raises(UserError, match=message) as caught:
        prepare(tmp_path)
    assert "\n" not in str(caught.value)


def test_nan_points_are_found_when_the_sweep_is_read(tmp_path, write_kitti):
    folder = write_kitti(tmp_path)
    points = np.ones((5, 4), "<f4")
    points[3, 1] = np.nan
    points.tofile(folder / "velodyne" / "000001.bin")
    log = open_dataset(DataConfig(kind="kitti", root=str(tmp_path))).log("00")
    with pytest.raises(UserError, match=r"000001.bin has 1 point\(s\) with NaN .* row 3"):
        log.sweep(1)
    (folder / "velodyne" / "000002.bin").unlink()
    with pytest.raises(UserError, match=r"000002.bin is gone"):
        log.sweep(2)


def test_a_damaged_gzip_stream_is_named(tmp_path, write_kitti):
    path = write_kitti(tmp_path) / "velodyne" / "000001.bin"
    packed = bytearray(gzip.compress(path.read_bytes()))
    packed[10] = 0xFF  # no such kind of block
    path.unlink()
    path.with_name("000001.bin.gz").write_bytes(packed)
    log = open_dataset(DataConfig(kind="kitti", root=str(tmp_path))).log("00")
    with pytest.raises(UserError, match=r"cannot read the sweep .*000001.bin.gz: .*copy it again"):
        log.sweep(1)


def test_what_is_missing_is_told_when_the_index_is_written(tmp_path, write_kitti, foretell):
    write_kitti(tmp_path / "data")
    for name in ("11", "12", "13"):
        (write_kitti(tmp_path / "data", 1, name=name) / "poses.txt").unlink()
    (tmp_path / "data" / "sequences" / "00" / "velodyne" / "000002.bin").unlink()
    words = ["--data.kind", "kitti", "--data.root", tmp_path / "data", "--data.splits", "[all]"]
    words += ["--data.horizons_s", "[3]", "--out", tmp_path / "run", "--quiet"]
    warning, error = foretell("lidar", "pretrain", *words).err.splitlines()
    assert warning.startswith("foretell: WARNING: missing under ")
    assert "sequence 00: no file of 1 sweep(s) between its first and its last, first 0" in warning
    assert "sequence 11: no poses" in warning and "sequence 13" not in warning
    assert warning.endswith("; and 1 more, `foretell lidar prepare` lists all")
    assert "no forecasting window" in error and "sequence 00: no file of 1 sweep(s)" in error
    answer = foretell("lidar", "pretrain", *words)  # the index is there: nothing new to tell
    assert answer.err.splitlines() == [error]


def test_missing_root_says_what_was_looked_for(tmp_path):
    with pytest.raises(UserError, match=r"sequences/<NN>/velodyne; download .*lidar simulate"):
        prepare(tmp_path)
    with pytest.raises(UserError, match=r"is no folder"):
        prepare(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"data.root is empty"):
        prepare_index(DataConfig(kind="kitti"))
