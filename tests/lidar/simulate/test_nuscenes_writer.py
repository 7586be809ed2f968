"""The simulated root under the official devkit."""

import json
from pathlib import Path

import numpy as np
import pytest

from lidar.simulate.config import CLASSES
from lidar.simulate.drive import build_drive
from lidar.simulate.nuscenes_writer import global_SE3_world, token

SPLIT = "mini_train"


@pytest.fixture(scope="module")
def devkit(nuscenes_root: Path):
    nuscenes = pytest.importorskip("nuscenes.nuscenes")
    return nuscenes.NuScenes("v1.0-mini", str(nuscenes_root), verbose=False)


def test_tables_are_linked(devkit) -> None:
    for table in (devkit.sample, devkit.sample_data, devkit.sample_annotation):
        by_token = {row["token"]: row for row in table}
        assert len(by_token) == len(table) > 0
        for row in table:
            assert len(row["token"]) == 32
            if row["next"]:
                assert by_token[row["next"]]["prev"] == row["token"]
    for data in devkit.sample_data:
        assert isinstance(data["timestamp"], int)
        pose = devkit.get("ego_pose", data["ego_pose_token"])
        assert pose["timestamp"] == data["timestamp"]
        points = np.fromfile(Path(devkit.dataroot) / data["filename"], np.float32).reshape(-1, 5)
        assert 0 <= points[:, 4].min() and points[:, 4].max() <= 31
        assert np.array_equal(points[:, 3], np.rint(points[:, 3]))
        sample = devkit.get("sample", data["sample_token"])
        follows = sample["timestamp"] >= data["timestamp"] or not sample["next"]
        assert follows and (not data["is_key_frame"] or sample["timestamp"] == data["timestamp"])
    assert len(devkit.ego_pose) == len(devkit.sample_data)
    assert {row["visibility_token"] for row in devkit.sample_annotation} == {"1", "2", "3", "4"}


def test_attributes_are_exactly_one_or_none(devkit) -> None:
    for row in devkit.sample_annotation:
        without = row["category_name"].startswith("movable_object")
        assert len(row["attribute_tokens"]) == (0 if without else 1)


def test_points_in_devkit_boxes_match_the_count(devkit, nuscenes_root: Path) -> None:
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes.utils.geometry_utils import points_in_box

    sample = devkit.sample[1]
    path, boxes, _ = devkit.get_sample_data(sample["data"]["LIDAR_TOP"])
    cloud = LidarPointCloud.from_file(path).points[:3]
    for box in boxes:
        count = devkit.get("sample_annotation", box.token)["num_lidar_pts"]
        box.wlh = box.wlh + 0.2
        assert points_in_box(box, cloud).sum() >= 0.98 * count


@pytest.fixture(scope="module")
def drive(nuscenes_config):
    """What scene-0061 was written from."""
    return build_drive(nuscenes_config, 0, 0)


def test_velocity_rule_of_the_devkit_equals_the_truth(devkit, drive) -> None:
    """On straight tracks at constant speed; elsewhere a centred difference is no derivative."""
    times_s = np.arange(drive.offsets_us[0], drive.offsets_us[-1], 10_000) * 1e-6
    turn = global_SE3_world(0)[:2, :2]
    speeds = []
    for number, actor in enumerate(drive.actors):
        velocity = actor.track.pose(times_s).velocity
        if np.ptp(velocity, axis=0).max() > 0.01:
            continue
        annotation = devkit.get("instance", token("scene-0061", "instance", number))
        annotation = annotation["first_annotation_token"]
        while annotation:
            error = devkit.box_velocity(annotation)[:2] - turn @ velocity[0]
            assert np.abs(error).max() < 0.05
            annotation = devkit.get("sample_annotation", annotation)["next"]
        speeds.append(np.linalg.norm(velocity[0]))
    assert len(speeds) > 10 and sum(speed > 1.0 for speed in speeds) > 3


def test_every_actor_is_annotated_with_its_points_or_none(devkit, drive, nuscenes_root) -> None:
    counted = []
    for sample in devkit.sample:
        if devkit.get("scene", sample["scene_token"])["name"] != "scene-0061":
            continue
        data = devkit.get("sample_data", sample["data"]["LIDAR_TOP"])
        stem = Path(data["filename"]).name.removesuffix(".pcd.bin")
        hit = np.load(nuscenes_root / "truth" / "LIDAR_TOP" / f"{stem}.npz")["actor"]
        rows = [devkit.get("sample_annotation", row) for row in sample["anns"]]
        points = {row["instance_token"]: row["num_lidar_pts"] for row in rows}
        assert points == {
            token("scene-0061", "instance", number): int((hit == number).sum())
            for number in range(len(drive.actors))
        }
        counted += points.values()
    assert min(counted) == 0 < max(counted)


@pytest.fixture(scope="module")
def evaluate(devkit, tmp_path_factory):
    """Submit the ground truth with at least one point, changed by a function."""
    from nuscenes.eval.detection.config import config_factory
    from nuscenes.eval.detection.evaluate import DetectionEval
    from nuscenes.eval.detection.utils import category_to_detection_name

    scenes = {"scene-0061"}
    reach = config_factory("detection_cvpr_2019").class_range

    def submit(change):
        results = {}
        for sample in devkit.sample:
            if devkit.get("scene", sample["scene_token"])["name"] not in scenes:
                continue
            pose = devkit.get(
                "ego_pose",
                devkit.get("sample_data", sample["data"]["LIDAR_TOP"])["ego_pose_token"],
            )
            ego = np.array(pose["translation"])
            boxes = [
                _submission(devkit, token, category_to_detection_name)
                for token in sample["anns"]
                if devkit.get("sample_annotation", token)["num_lidar_pts"] > 0
            ]
            # A box beyond its class's range is no ground truth; moved inside it would be wrong.
            results[sample["token"]] = [
                change(box, ego)
                for box in boxes
                if _distance(box, ego) < reach[box["detection_name"]]
            ]
        folder = tmp_path_factory.mktemp("submission")
        meta = {
            f"use_{kind}": kind == "lidar"
            for kind in ("camera", "lidar", "radar", "map", "external")
        }
        path = folder / "results.json"
        path.write_text(json.dumps({"meta": meta, "results": results}))
        config = config_factory("detection_cvpr_2019")
        evaluation = DetectionEval(devkit, config, str(path), SPLIT, str(folder), verbose=False)
        metrics, _ = evaluation.evaluate()
        names = {box.detection_name for box in evaluation.gt_boxes.all}
        return metrics, names, evaluation.gt_boxes

    return submit


def _distance(box: dict, ego: np.ndarray) -> float:
    return float(np.linalg.norm((np.array(box["translation"]) - ego)[:2]))


def _submission(devkit, token: str, category_to_detection_name) -> dict:
    row = devkit.get("sample_annotation", token)
    attributes = [devkit.get("attribute", t)["name"] for t in row["attribute_tokens"]]
    return {
        "sample_token": row["sample_token"],
        "translation": row["translation"],
        "size": row["size"],
        "rotation": row["rotation"],
        "velocity": devkit.box_velocity(token)[:2].tolist(),
        "detection_name": category_to_detection_name(row["category_name"]),
        "detection_score": 0.5,
        "attribute_name": attributes[0] if attributes else "",
    }


def test_ground_truth_scores_one(evaluate) -> None:
    metrics, names, _ = evaluate(lambda box, ego: box)
    assert names == set(CLASSES)
    assert metrics.mean_ap >= 0.999
    assert metrics.nd_score >= 0.999


def test_shift_towards_the_ego_loses_exactly_the_half_metre_ap(evaluate) -> None:
    def shift(box, ego):
        place = np.array(box["translation"])
        towards = (ego - place)[:2] / np.linalg.norm((ego - place)[:2])
        place[:2] += 0.6 * towards
        return box | {"translation": place.tolist()}

    metrics, _, _ = evaluate(shift)
    for name in CLASSES:
        ap = metrics._label_aps[name]
        assert ap[0.5] == 0.0
        assert min(ap[1.0], ap[2.0], ap[4.0]) >= 0.999


def test_turned_boxes_have_an_orientation_error_of_pi(evaluate) -> None:
    def turn(box, ego):
        w, x, y, z = box["rotation"]
        return box | {"rotation": [-z, -y, x, w]}  # times the half turn about z

    metrics, _, _ = evaluate(turn)
    for name in CLASSES:
        error = metrics.get_label_tp(name, "orient_err")
        if name == "barrier":
            assert error < 1e-6
        elif name != "traffic_cone":
            assert abs(error - np.pi) < 1e-6
