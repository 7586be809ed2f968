"""The nuScenes reader: the real sweep and its boxes, and invented tables against the devkit."""

import json

import numpy as np
import pytest

from foretell.errors import UserError
from lidar.config import DataConfig
from lidar.data.index import open_dataset, prepare_index
from lidar.data.log_view import LabelAccessError
from lidar.data.nuscenes import read_points
from lidar.data.nuscenes_splits import official_splits
from lidar.data.nuscenes_tables import read_table
from lidar.geometry.boxes import points_in_boxes
from lidar.geometry.se3 import se3, yaw_matrix


def config(root, **changes):
    return DataConfig(kind="nuscenes", root=str(root), version="v1.0-mini", **changes)


@pytest.fixture(scope="module")
def real_info(test_data):
    path = test_data / "lidar" / "nuscenes" / "mmdet3d_info_ca9a282c.json"
    return json.loads(path.read_text())["data_list"][0]


@pytest.fixture(scope="module")
def real_sweep(test_data):
    return next((test_data / "lidar" / "nuscenes" / "samples" / "LIDAR_TOP").glob("*.pcd.bin"))


@pytest.fixture
def real_root(tmp_path, nuscenes_writer, real_info, real_sweep):
    """Tables around the real sweep, its boxes brought back to global w l h annotations."""
    writer = nuscenes_writer(tmp_path / "real")
    writer.scene("scene-0061", keys=1)
    global_SE3_ego = np.array(real_info["ego2global"])
    ego_SE3_lidar = np.array(real_info["lidar_points"]["lidar2ego"])
    for table, transform in (("ego_pose", global_SE3_ego), ("calibrated_sensor", ego_SE3_lidar)):
        kept = {k: v for k, v in writer.tables[table][0].items() if k not in ("token", "rotation")}
        writer.tables[table].clear()
        kept.pop("translation")
        writer.pose(table, "scene-0061", *([0] if table == "ego_pose" else []),
                    transform=transform, **kept)  # fmt: skip
    pattern = writer.tables["sample_annotation"].pop()
    for n, instance in enumerate(real_info["instances"]):
        x, y, z, length, width, height, yaw = instance["bbox_3d"]
        box = global_SE3_ego @ ego_SE3_lidar @ se3(yaw_matrix(yaw), np.array([x, y, z]))
        fields = {k: v for k, v in pattern.items() if k not in ("token", "translation", "rotation")}
        fields |= {"size": [width, length, height], "num_lidar_pts": instance["num_lidar_pts"]}
        writer.pose("sample_annotation", n, transform=box, **fields)
    root = writer.finish()
    sweep = root / writer.tables["sample_data"][0]["filename"]
    sweep.unlink()
    sweep.symlink_to(real_sweep)
    return root


def test_golden_sweep(real_sweep, test_data):
    raw = read_points(real_sweep)
    points, ring = raw[:, :4], raw[:, 4]
    assert points.shape == (34688, 4) and ring.min() == 0 and ring.max() == 31
    assert points[:, 3].max() <= 255
    near = np.linalg.norm(points[:, :3], axis=1) < 1
    assert near.mean() == pytest.approx(0.23, abs=0.01)  # own car
    elevation = np.degrees(np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1])))
    assert np.median(elevation[(ring == 0) & ~near]) == pytest.approx(-30.6, abs=0.5)
    truncated = next((test_data / "lidar" / "nuscenes" / "truncated").glob("*.pcd.bin"))
    assert read_points(truncated).shape == (400, 5)


def agreement(points, boxes):
    counts = points_in_boxes(points[:, :3].astype(np.float64), boxes.boxes).sum(0)
    return int((counts == boxes.num_points).sum())


def test_real_boxes_hold_their_points(real_root):
    """61 of 69 as delivered; with l and w swapped 36; with x y z w quaternions far fewer."""
    log = open_dataset(config(real_root)).log("scene-0061")
    boxes, points = log.boxes(0), log.sweep(0).points
    assert len(boxes) == 69
    assert agreement(points, boxes) == 61
    boxes.boxes[:, [3, 4]] = boxes.boxes[:, [4, 3]]
    assert agreement(points, boxes) == 36

    path = real_root / "v1.0-mini" / "sample_annotation.json"
    records = json.loads(path.read_text())
    for record in records:
        w, x, y, z = record["rotation"]
        record["rotation"] = [x, y, z, w]
    path.write_text(json.dumps(records))
    prepare_index(config(real_root))
    log = open_dataset(config(real_root)).log("scene-0061")
    assert agreement(points, log.boxes(0)) < 50


def test_flu_frame_turns_points_and_boxes_alike(real_root):
    delivered = open_dataset(config(real_root)).log("scene-0061")
    flu_set = open_dataset(config(real_root, frame="flu"))
    flu = flu_set.log("scene-0061")
    np.testing.assert_allclose(flu_set.sensor.flu_R_lidar, np.eye(3))
    assert flu_set.sensor.ego_box == (-1.5, 2.5, -1.0, 1.0)
    np.testing.assert_allclose(flu.sweep(0).points[:, 0], delivered.sweep(0).points[:, 1])
    assert agreement(flu.sweep(0).points, flu.boxes(0)) == 61
    for log, frame in ((delivered, "lidar"), (flu, "lidar_flu")):
        read = (log.sweep(0), log.accumulated(0, 2), log.boxes(0))
        assert [part.frame for part in read] == [frame] * 3
    local = np.array([3.0, 4.0, 5.0, 1.0])
    turned = np.array([4.0, -3.0, 5.0, 1.0])
    np.testing.assert_allclose(
        flu.global_SE3_lidar[0] @ turned, delivered.global_SE3_lidar[0] @ local, atol=1e-9
    )


def test_logs_splits_and_key_frames(nuscenes_root):
    dataset = open_dataset(config(nuscenes_root))
    assert dataset.splits == {
        "train": ["scene-0061"],
        "val": ["scene-0103"],
        "mini_train": ["scene-0061"],
        "mini_val": ["scene-0103"],
    }
    log = dataset.log("scene-0061")
    assert len(log) == 31 and np.flatnonzero(log.is_key).tolist() == [0, 10, 20, 30]
    assert log.boxes(1) is None and len(log.boxes(10)) == 1
    with pytest.raises(IndexError, match=r"sweeps 0\.\.30, got 31"):
        log.sweep(31)


def test_sweeps_boxes_and_velocities_equal_the_devkit(nuscenes_root):
    """Oracle: devkit 1.2.0, multi-sweep accumulation with dt and own-car removal included."""
    devkit = pytest.importorskip("nuscenes")
    from nuscenes.utils.data_classes import LidarPointCloud

    nusc = devkit.NuScenes("v1.0-mini", str(nuscenes_root), verbose=False)
    log = open_dataset(config(nuscenes_root)).log("scene-0061")
    scene = next(s for s in nusc.scene if s["name"] == "scene-0061")
    sample_token, i = scene["first_sample_token"], 0
    while sample_token:
        sample = nusc.get("sample", sample_token)
        count = min(i + 1, 5)
        cloud, times = LidarPointCloud.from_file_multisweep(
            nusc, sample, "LIDAR_TOP", "LIDAR_TOP", nsweeps=count
        )
        sweep = log.accumulated(i, count)
        ours = sweep.points[np.lexsort(sweep.points.T)]
        theirs = np.column_stack([cloud.points.T, times.T])
        theirs = theirs[np.lexsort(theirs.T)]
        np.testing.assert_allclose(ours, theirs, atol=2e-4)

        _, (box,), _ = nusc.get_sample_data(sample["data"]["LIDAR_TOP"])
        boxes = log.boxes(i)
        heading = box.orientation.rotation_matrix[:, 0]
        yaw = np.arctan2(heading[1], heading[0])
        w, length, h = box.wlh
        np.testing.assert_allclose(boxes.boxes[0], [*box.center, length, w, h, yaw], atol=1e-6)
        velocity = nusc.box_velocity(box.token)
        turned = np.linalg.inv(log.global_SE3_lidar[i])[:3, :3] @ velocity
        np.testing.assert_allclose(boxes.velocity_mps[0], turned[:2], atol=1e-6)
        assert np.linalg.norm(boxes.velocity_mps[0]) == pytest.approx(5.0, abs=1e-6)
        sample_token, i = sample["next"], i + 10


def test_early_sweeps_repeat_the_last_available_one(nuscenes_root):
    log = open_dataset(config(nuscenes_root)).log("scene-0061")
    joined = log.accumulated(2, 5)
    single = log.accumulated(2, 1)
    dt, counts = np.unique(joined.dt_s, return_counts=True)
    np.testing.assert_allclose(dt, [0.0, 0.05, 0.1], atol=1e-6)
    first = int((joined.dt_s == dt[2]).sum())
    assert counts[2] == first and first % 3 == 0  # sweep 0 three times
    np.testing.assert_array_equal(joined.points[: len(single.points)], single.points)
    limited = log.accumulated(2, 3, earliest=2)
    np.testing.assert_array_equal(limited.dt_s, np.zeros(3 * len(single.points)))
    strided = log.accumulated(10, 3, 2)
    np.testing.assert_allclose(np.unique(strided.dt_s), [0.0, 0.1, 0.2], atol=1e-6)


def test_velocity_is_unknown_without_neighbours(tmp_path, nuscenes_writer):
    writer = nuscenes_writer(tmp_path / "n")
    writer.scene("scene-0061", keys=1)
    writer.scene("scene-0553", keys=3, sweeps_per_key=40)  # 2 s between annotations
    dataset = open_dataset(config(writer.finish()))
    assert np.isnan(dataset.log("scene-0061").boxes(0).velocity_mps).all()
    slow = dataset.log("scene-0553")
    assert np.isnan(slow.boxes(0).velocity_mps).all()  # 2 s one-sided
    assert np.isnan(slow.boxes(40).velocity_mps).all()  # 4 s centred


def test_annotation_tables_may_be_missing(nuscenes_root):
    """T12: a data set without annotation files."""
    for name in ("sample_annotation", "instance", "category"):
        (nuscenes_root / "v1.0-mini" / f"{name}.json").unlink()
    report = prepare_index(config(nuscenes_root))
    assert any("no annotation tables" in line for line in report.skipped)
    assert open_dataset(config(nuscenes_root)).log("scene-0061").boxes(0) is None


def test_point_classes_of_key_frames(tmp_path, nuscenes_writer):
    """nuScenes-lidarseg, kept from pretraining and checked against the sweep."""
    writer = nuscenes_writer(tmp_path)
    writer.scene("scene-0061")
    written = writer.point_classes("samples/LIDAR_TOP/scene-0061_10.pcd.bin")
    root = writer.finish()
    log = open_dataset(config(root)).logs["scene-0061"]
    np.testing.assert_array_equal(log.point_classes(10), written)
    assert log.point_classes(0) is None and log.point_classes(11) is None
    with pytest.raises(LabelAccessError, match="point classes of log 'scene-0061'"):
        log.without_labels().point_classes(10)
    (path,) = (root / "lidarseg").rglob("*.bin")
    written[:-1].tofile(path)
    with pytest.raises(UserError, match="are 299 for 300 points of the sweep"):
        log.point_classes(10)
    path.unlink()
    with pytest.raises(UserError, match="cannot read the point classes .* unpack the lidarseg"):
        log.point_classes(10)


def test_partial_downloads_are_reported(nuscenes_root):
    for path in (nuscenes_root / "sweeps" / "LIDAR_TOP").glob("scene-0103*"):
        path.unlink()
    report = prepare_index(config(nuscenes_root))
    assert [log.sweeps for log in report.logs] == [31, 3]
    assert report.skipped == (
        "18 sweep file(s) that the tables name are not on disk, first "
        "sweeps/LIDAR_TOP/scene-0103_1.pcd.bin",
    )


def test_a_missing_key_frame_is_named_where_no_window_is_left(nuscenes_root, foretell, tmp_path):
    for i in (10, 20):
        (nuscenes_root / "samples" / "LIDAR_TOP" / f"scene-0061_{i}.pcd.bin").unlink()
    answer = foretell("lidar", "pretrain", "--data.root", nuscenes_root, "--data.version",
                      "v1.0-mini", "--out", tmp_path / "run", "--quiet")  # fmt: skip
    warning, error = answer.err.splitlines()
    assert "WARNING: missing under" in warning
    assert "no forecasting window" in error
    for line in (warning, error):
        assert "2 sweep file(s) that the tables name are not on disk, first samples/LID" in line


def test_missing_things_are_named(tmp_path, nuscenes_root):
    with pytest.raises(UserError, match=r"looked for .*v1.0-mini/scene.json; download"):
        prepare_index(config(tmp_path))
    wrong = DataConfig(kind="nuscenes", root=str(nuscenes_root), version="v1.0-min")
    with pytest.raises(UserError, match=r"found v1.0-mini; .*did you mean 'v1.0-mini'"):
        prepare_index(wrong)
    (nuscenes_root / "v1.0-mini" / "ego_pose.json").write_text('[{"token": "a", "tr')
    with pytest.raises(UserError, match=r"ego_pose.json is malformed .* ends inside a record"):
        prepare_index(config(nuscenes_root))
    (nuscenes_root / "v1.0-mini" / "ego_pose.json").unlink()
    with pytest.raises(UserError, match=r"ego_pose.json is missing"):
        prepare_index(config(nuscenes_root))


TOKENS = [
    ("sample_annotation", "sample_token"),
    ("sample_annotation", "instance_token"),
    ("instance", "category_token"),
    ("sample_data", "ego_pose_token"),
]


@pytest.mark.parametrize(
    ("table", "field", "lost"),
    [
        *[(*token, lost) for token in TOKENS for lost in (False, True)],
        ("scene", "name", True),
        ("sample_data", "filename", True),
    ],
)
def test_tables_that_do_not_belong_together_are_one_line(nuscenes_root, table, field, lost):
    path = nuscenes_root / "v1.0-mini" / f"{table}.json"
    rows = json.loads(path.read_text())
    if lost:
        del rows[0][field]
    else:
        rows[0][field] = "0" * 32
    path.write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r"do not belong together: '.*unpack the metadata"):
        prepare_index(config(nuscenes_root))


@pytest.mark.parametrize(
    ("table", "field", "value", "what"),
    [
        ("sample_data", "timestamp", None, "missing, not a finite number"),
        ("sample_data", "timestamp", "noon", "noon, not a finite number"),
        ("sample", "timestamp", "noon", "noon, not a finite number"),
        ("ego_pose", "rotation", None, "missing, not 4 finite numbers"),
        ("ego_pose", "rotation", [0, 0, 1], r"\[0, 0, 1\], not 4 finite numbers"),
        ("ego_pose", "rotation", [0, 0, 0, 0], r"\[0, 0, 0, 0\], not a rotation"),
        ("ego_pose", "translation", [0, 0, float("nan")], "not 3 finite numbers"),
        ("calibrated_sensor", "rotation", [0, 0, 0, 0], "not a rotation"),
        ("sample_annotation", "size", [1, 2], r"\[1, 2\], not 3 finite numbers"),
        ("sample_annotation", "rotation", [0, 0, 0, 0], "not a rotation"),
        ("sample_annotation", "num_lidar_pts", "few", "few, not a finite number"),
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_records_that_are_no_numbers_are_named(nuscenes_root, table, field, value, what, whole):
    path = nuscenes_root / "v1.0-mini" / f"{table}.json"
    rows = json.loads(path.read_text())
    for row in rows if whole else rows[:1]:
        if value is None:
            del row[field]
        else:
            row[field] = value
    path.write_text(json.dumps(rows))
    where = f"{table}.json is malformed: {field} of the record {rows[0]['token']} is "
    with pytest.raises(UserError, match=f"{where}.*{what}; unpack the metadata archive again"):
        prepare_index(config(nuscenes_root))


@pytest.mark.parametrize("link", ["prev", "next"])
def test_times_that_contradict_the_order_of_the_sweeps(nuscenes_root, link):
    path = nuscenes_root / "v1.0-mini" / "sample_data.json"
    rows = json.loads(path.read_text())
    moved = next(row for row in rows if row["filename"].endswith("scene-0061_25.pcd.bin"))
    moved["timestamp"] -= 525_000
    for row in rows:
        row[link] = ""  # the other one is enough
    path.write_text(json.dumps(rows))
    message = r"_25.pcd.bin follows .*_24.pcd.bin, but its timestamp 1600000000725000 is not after"
    with pytest.raises(UserError, match=message):
        prepare_index(config(nuscenes_root))


def test_custom_splits(nuscenes_root):
    (nuscenes_root / "v1.0-mini" / "splits.json").write_text(json.dumps({"dev": ["scene-0061"]}))
    dataset = open_dataset(config(nuscenes_root))
    assert [log.name for log in dataset.select(["dev"])] == ["scene-0061"]


def test_official_lists_equal_the_devkits():
    splits = pytest.importorskip("nuscenes.utils.splits")
    labelled = sorted({*splits.train, *splits.val})
    ours = official_splits(labelled)
    assert ours["train"] == sorted(splits.train) and ours["val"] == sorted(splits.val)
    assert official_splits(sorted(splits.test))["test"] == sorted(splits.test)
    assert ours["mini_train"] == splits.mini_train and ours["mini_val"] == splits.mini_val


def test_tables_stream_across_chunks(tmp_path, monkeypatch):
    records = [{"token": str(n), "group": f"g{n % 3}", "text": '}{"\\'} for n in range(50)]
    (tmp_path / "t.json").write_text(json.dumps(records, indent=2))
    monkeypatch.setattr("lidar.data.nuscenes_tables._CHUNK_BYTES", 37)
    table = read_table(tmp_path / "t.json", key="group", wanted=["g1"])
    assert list(table.values()) == [r for r in records if r["group"] == "g1"]
    assert len(read_table(tmp_path / "t.json")) == 50
