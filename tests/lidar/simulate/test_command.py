import dataclasses
import errno
import hashlib
from pathlib import Path

import numpy as np
import pytest

from foretell.config import RunOptions, from_dict
from foretell.errors import UserError
from lidar.config import DataConfig
from lidar.geometry.se3 import invert
from lidar.simulate import folder_writer
from lidar.simulate.command import run, write_scene
from lidar.simulate.config import ActorCounts, SimulateConfig
from lidar.simulate.drive import build_drive

FEW = ActorCounts(car=6, pedestrian=4, truck=1, trailer=1, bicycle=2, motorcycle=1)


def digest(root: Path) -> dict[str, str]:
    skipped = {"config.yaml", "env.json"}
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name not in skipped
    }


def short(tiny: SimulateConfig, **changes: object) -> SimulateConfig:
    return dataclasses.replace(tiny, duration_s=0.6, key_every=3, num_actors=FEW, **changes)


def test_bytes_do_not_depend_on_workers_or_interruptions(open3d, tiny, tmp_path) -> None:
    config = short(tiny)
    run(config, RunOptions(out=str(tmp_path / "one"), seed=4))
    run(dataclasses.replace(config, workers=2), RunOptions(out=str(tmp_path / "two"), seed=4))
    first = digest(tmp_path / "one")
    assert first == digest(tmp_path / "two")
    assert sum(name.endswith(".pcd.bin") for name in first) == 12
    # As if killed while writing the second drive:
    (tmp_path / "two" / ".scenes" / "scene-0103.done").unlink()
    victim = next((tmp_path / "two").rglob("scene-0103*.pcd.bin"))
    victim.write_bytes(b"")
    run(config, RunOptions(out=str(tmp_path / "two"), seed=4))
    assert first == digest(tmp_path / "two")


def test_another_seed_needs_another_folder(open3d, tiny, tmp_path) -> None:
    config = short(tiny, scenes=1, val_scenes=0, truth=False)
    run(config, RunOptions(out=str(tmp_path), seed=0))
    with pytest.raises(UserError, match="another configuration or seed"):
        run(config, RunOptions(out=str(tmp_path), seed=1))
    other = tmp_path / "other"
    (other / "samples").mkdir(parents=True)
    with pytest.raises(UserError, match="not simulated"):
        run(config, RunOptions(out=str(other), seed=0))


def test_a_folder_of_own_logs_is_not_written_into(tiny, tmp_path) -> None:
    config = short(tiny, scenes=1, val_scenes=0, truth=False, format="folder")
    (tmp_path / "splits.json").write_text("{}")
    with pytest.raises(UserError, match=r"already holds splits.json, not simulated"):
        run(config, RunOptions(out=str(tmp_path), seed=0))
    assert (tmp_path / "splits.json").read_text() == "{}"


@pytest.mark.parametrize("kind", ["nuscenes", "kitti", "folder"])
def test_readers_read_back_what_was_written(open3d, tiny, tmp_path, kind) -> None:
    from lidar.data.index import open_dataset

    config = short(tiny, format=kind)
    root = tmp_path / "root"
    run(config, RunOptions(out=str(root), seed=2))
    data = DataConfig(kind=kind, root=str(root), version="v1.0-mini", splits=["train"])
    dataset = open_dataset(data)
    assert len(dataset.splits["train"]) == len(dataset.splits["val"]) == 1
    (log,) = dataset.select(["train"])
    drive = build_drive(config, 2, 0)
    np.testing.assert_array_equal(
        np.diff(log.timestamps_ns), 1000 * np.diff(np.array(drive.offsets_us))
    )
    ego = drive.ego.poses(np.array(drive.offsets_us) * 1e-6)
    mount = drive.sensor.ego_SE3_lidar.copy()
    if kind == "kitti":
        mount[:3, :3] = np.eye(3)
    truth = ego @ mount
    moved = invert(log.global_SE3_lidar[0]) @ log.global_SE3_lidar[-1]
    np.testing.assert_allclose(moved, invert(truth[0]) @ truth[-1], atol=1e-6)
    sweep = log.sweep(0)
    assert len(sweep.points) > 3000 and np.isfinite(sweep.points).all()
    boxes = None if kind == "kitti" else log.boxes(0)
    if boxes is not None:
        _check_boxes(boxes, sweep.points)


def _check_boxes(boxes, points) -> None:
    """The annotated number of points lies in each box grown by 0.1 m."""
    seen = 0
    for box, count in zip(boxes.boxes, boxes.num_points, strict=True):
        delta = points[:, :3] - box[:3]
        cos, sin = np.cos(box[6]), np.sin(box[6])
        along = cos * delta[:, 0] + sin * delta[:, 1]
        across = cos * delta[:, 1] - sin * delta[:, 0]
        local = np.abs(np.stack([along, across, delta[:, 2]], axis=1))
        inside = int(np.all(local <= box[3:6] / 2 + 0.1, axis=1).sum())
        assert inside >= 0.98 * count
        seen += int(count > 0)
    assert seen > 5


def test_replay_of_an_argoverse_log(open3d, test_data, tmp_path) -> None:
    from lidar.simulate.drive import sweeps

    log = test_data / "lidar" / "av2" / "val" / "7fab2350-7eaf-3b7e-a39d-6937a4c1bede"
    config = SimulateConfig(
        scenes=1, val_scenes=0, duration_s=1.0, sweep_hz=10.0, key_every=5, replay=str(log)
    )
    drive = build_drive(config, 0, 0)
    assert 315966250 < drive.start_us * 1e-6 < 315966270
    taken = list(sweeps(config, drive, 0, 0))
    key = taken[0].boxes
    assert key.present.sum() > 40
    assert (key.num_points > 0).sum() > 15
    assert {actor.name for actor in drive.actors} >= {"car", "pedestrian"}
    ego = np.array([sweep.world_SE3_ego[:3, 3] for sweep in taken])
    assert np.linalg.norm(ego[-1] - ego[0]) < 10.0


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("9 requested and 4 written"), r"the disk is full or failing \(9 requested"),
    ],
)
def test_a_full_disk_is_one_line_and_the_drive_is_not_marked(
    tiny, tmp_path, monkeypatch, error, reason
) -> None:
    def full(*words: object, **more: object) -> None:
        raise error

    config = short(tiny, scenes=1, val_scenes=0, format="folder")
    monkeypatch.setattr(folder_writer, "write_scene", full)
    (name,) = folder_writer.scene_names(config)
    with pytest.raises(UserError, match=f"cannot write drive {name} in .*: {reason}"):
        write_scene(tmp_path, config, 0, 0)
    assert not list(tmp_path.iterdir())


def test_more_validation_drives_than_drives_names_the_remedy() -> None:
    with pytest.raises(UserError, match=r"^val_scenes \+ test_scenes = 2 \+ 0 .* --val_scenes 0$"):
        from_dict(SimulateConfig, {"scenes": 1})


def test_replay_without_a_log_says_what_is_missing(tmp_path) -> None:
    config = SimulateConfig(scenes=1, val_scenes=0, replay=str(tmp_path))
    with pytest.raises(UserError, match="city_SE3_egovehicle.feather"):
        build_drive(config, 0, 0)


def argoverse_log(folder: Path, categories: list[str], *, box_s=(0.0, 0.5, 1.0)) -> Path:
    """A log of one second at rest: one box of each category at every time, 5 m apart."""
    pandas = pytest.importorskip("pandas")
    folder.mkdir()
    still = {"qw": 1.0, "qx": 0.0, "qy": 0.0, "qz": 0.0, "tx_m": 0.0, "ty_m": 0.0, "tz_m": 0.0}
    poses = [{"timestamp_ns": 500_000_000 * k} | still for k in range(3)]
    pandas.DataFrame(poses).to_feather(folder / "city_SE3_egovehicle.feather")
    boxes = [
        {"timestamp_ns": round(1e9 * time), "track_uuid": f"{i}", "category": name}
        | {"length_m": 1.0, "width_m": 1.0, "height_m": 1.0}
        | still
        | {"tx_m": 5.0 + 5.0 * i}
        for time in box_s
        for i, name in enumerate(categories)
    ]
    pandas.DataFrame(boxes).to_feather(folder / "annotations.feather")
    return folder


def replayed(log: Path, **changes: object) -> SimulateConfig:
    return SimulateConfig(scenes=1, val_scenes=0, duration_s=1.0, replay=str(log), **changes)


def test_a_log_that_cannot_be_replayed_leaves_the_folder_free(tmp_path) -> None:
    with pytest.raises(UserError, match="replay: no city_SE3_egovehicle.feather in /nonexist"):
        run(replayed(Path("/nonexist")), RunOptions(out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_categories_without_a_class_are_left_out_and_counted(tmp_path, caplog) -> None:
    log = argoverse_log(
        tmp_path / "log", ["STROLLER", "PEDESTRIAN", "DOG", "TRAFFIC_LIGHT_TRAILER"]
    )
    with caplog.at_level("INFO", "lidar"):
        drive = build_drive(replayed(log), 0, 0)
    assert [actor.name for actor in drive.actors] == ["pedestrian", "trailer"]
    assert caplog.messages == ["replay: 6 of 12 boxes left out: 3 STROLLER, 3 DOG"]
    caplog.clear()
    build_drive(replayed(argoverse_log(tmp_path / "all", ["BUS"])), 0, 0)
    assert not caplog.messages


def test_boxes_without_poses_and_short_logs_are_one_line(tmp_path) -> None:
    late = argoverse_log(tmp_path / "late", ["BUS"], box_s=(0.0, 1.5))
    with pytest.raises(UserError, match="replay: .*late holds no box, or boxes at times without"):
        build_drive(replayed(late), 0, 0)
    short = argoverse_log(tmp_path / "short", ["BUS"], box_s=(0.5,))
    with pytest.raises(UserError, match="short span 0 s, less than one sweep at sweep_hz = 20"):
        build_drive(replayed(short), 0, 0)


def test_replay_of_a_damaged_log_is_one_line(tmp_path) -> None:
    pandas = pytest.importorskip("pandas")
    config = SimulateConfig(scenes=1, val_scenes=0, replay=str(tmp_path))
    poses = tmp_path / "city_SE3_egovehicle.feather"
    poses.write_bytes(b"garbage")
    with pytest.raises(UserError, match="replay: cannot read .*city_SE3_egovehicle.feather"):
        build_drive(config, 0, 0)
    pandas.DataFrame({"timestamp_ns": [1]}).to_feather(poses)
    with pytest.raises(UserError, match="replay: cannot read .*city_SE3_egovehicle.feather"):
        build_drive(config, 0, 0)
