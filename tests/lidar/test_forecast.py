"""From a simulated drive to scores, pictures and an exported backbone, by the command line."""

import dataclasses
import json

import pytest
import torch
from PIL import Image

from foretell.cli import main
from foretell.config import TrainerConfig
from foretell.run import check_metrics
from lidar.config import CurriculumConfig, DataConfig, PretrainConfig, trained_horizons_s
from lidar.evaluation.forecast import chosen_copy_last
from lidar.export import read_backbone
from lidar.trend import Trend

VARIANTS = {
    "copy_last_nearest_t0",
    "copy_last_zbuffer_0.2deg_t0",
    "copy_last_zbuffer_0.35deg_t0",
    "copy_last_zbuffer_0.5deg_t0",
}
INTERVENTIONS = {"zero_action", "shuffled_action", "no_time"}
RAYS = {"all", "nonground", "ground", "moving", "static"}
RAY_METRICS = {"l1_m", "l1_median_m", "absrel_pct", "frames"}
CLOUD_METRICS = {"cd_m2", "nfcd_m2"}


def read_metrics(out):
    metrics = json.loads((out / "metrics.json").read_text())
    check_metrics(metrics)
    return metrics


def parts(metrics, number):
    """The values of one part of the keys of a protocol-less score."""
    return {key.split("/")[number] for key in metrics if len(key.split("/")) == 5}


@pytest.fixture(scope="module")
def scored(tmp_path_factory, tiny_yaml):
    """simulate, prepare, pretrain, forecast, export and view, one after the other."""
    pytest.importorskip("open3d", exc_type=ImportError)
    root = tmp_path_factory.mktemp("chain")
    drive = ["--data.root", root / "drive", "--data.kind", "nuscenes",
             "--data.version", "v1.0-mini"]  # fmt: skip
    for verb, *flags in (
        ("simulate", "--sensor", "small", "--scenes", 2, "--val_scenes", 1, "--duration_s", 3,
         "--sweep_hz", 2, "--key_every", 1, "--truth", "false"),
        ("prepare", *drive),
        ("pretrain", "--config", tiny_yaml, *drive, "--data.num_sweeps", 1,
         "--trainer.max_steps", 4),
        ("forecast", "--model", root / "pretrain" / "model", "--eval.protocols", "[a_1s]",
         "--eval.max_windows", 2, "--figures", 1),
        ("export", "--model", root / "pretrain" / "model"),
        ("view", *drive, "--count", 2),
    ):  # fmt: skip
        out = root / ("drive" if verb == "simulate" else verb)
        words = ["lidar", verb, *flags, "--out", out, "--quiet"]
        assert main([str(word) for word in words]) == 0, verb
    return root


def test_every_promised_number_is_there(scored):
    metrics = read_metrics(scored / "forecast")
    who = {"model", "copy_last", "const_velocity_oracle"} | VARIANTS | INTERVENTIONS
    assert parts(metrics, 0) == {"forecast"}
    assert parts(metrics, 1) == who
    assert parts(metrics, 2) == RAYS
    assert parts(metrics, 3) == {"0.5s", "1.0s", "mean"}
    for name in who:
        for horizon in ("0.5s", "1.0s", "mean"):
            for rays in RAYS:
                wanted = RAY_METRICS | (CLOUD_METRICS | {"l1_4docc_m"} if rays == "all" else set())
                # A few returns of a group may all lie outside NFCD's crop; CD has none.
                wanted |= {"cd_m2"}
                for metric in wanted:
                    assert metrics[f"forecast/{name}/{rays}/{horizon}/{metric}"] is not None
        published = f"forecast/a_1s/{name}/all/mean"
        for metric in {"l1_4docc_m", "l1_m", "absrel_pct", "frames"} | CLOUD_METRICS:
            assert metrics[f"{published}/{metric}"] is not None
    assert metrics["forecast/model/all/0.5s/frames"] == 2
    assert metrics["forecast/model/all/mean/frames"] == 4
    # Worse than copying? Then it says so: both come from the same rays.
    assert metrics["forecast/model/all/mean/l1_m"] > 0 < metrics["forecast/copy_last/all/mean/l1_m"]


def test_copy_last_is_the_variant_chosen_in_training(scored):
    metrics = read_metrics(scored / "forecast")
    chosen = Trend.from_pretrained(scored / "pretrain" / "model").config.copy_last
    assert set(chosen.values()) <= VARIANTS
    for metric, variant in chosen.items():
        for horizon in ("0.5s", "mean"):
            same = (f"forecast/{who}/all/{horizon}/{metric}" for who in ("copy_last", variant))
            assert len({metrics[key] for key in same}) == 1


def test_a_metric_unknown_at_training_follows_its_relative():
    metrics = {
        f"forecast/a_1s/{who}/all/mean/{metric}": value
        for who, value in (("copy_last_a", 1.0), ("copy_last_b", 2.0))
        for metric in ("l1_4docc_m", "absrel_4docc_pct", "cd_m2", "frames")
    }
    row = chosen_copy_last(metrics, {"l1_m": "copy_last_a", "absrel_pct": "copy_last_b"})
    prefix = "forecast/a_1s/copy_last/all/mean"
    assert row == {
        f"{prefix}/l1_4docc_m": 1.0,
        f"{prefix}/absrel_4docc_pct": 2.0,
        f"{prefix}/cd_m2": 1.0,
        f"{prefix}/frames": 1.0,
    }


def test_the_pictures_open(scored):
    figures = {path.name: path for path in (scored / "forecast" / "figures").iterdir()}
    assert {"error_histogram.png", "l1_by_horizon.png", "drive.gif"} <= figures.keys()
    assert sum(name.startswith("bev_") for name in figures) == 1
    assert sum(name.startswith("range_") for name in figures) == 1
    for path in [*figures.values(), *(scored / "view" / "figures").iterdir()]:
        with Image.open(path) as image:
            assert min(image.size) > 100, path


def test_the_exported_backbone_is_the_models(scored):
    state, status = read_backbone(scored / "export" / "backbone_3d.pth")
    model = Trend.from_pretrained(scored / "pretrain" / "model")
    own = model.encoder.state_dict()
    assert state.keys() == status.keys() == own.keys()
    assert all(torch.equal(state[key], own[key]) for key in own if "num_batches" not in key)
    assert {key for key, mark in status.items() if mark == "initial"} == {
        key for key in own if key.startswith("conv_out.")
    }


def test_baselines_alone_without_a_model(tmp_path, foretell, street_root):
    answer = foretell("lidar", "forecast", "--data.kind", "folder", "--data.root", street_root,
                      "--eval.horizons_s", "[0.5, 1.0]", "--data.num_sweeps", 2,
                      "--out", tmp_path)  # fmt: skip
    assert answer.code == 0, answer.err
    metrics = read_metrics(tmp_path)
    # Neither a model nor a copy_last: the choice among the variants belongs to a training.
    of_both_sweeps = {name.replace("_t0", "_sweeps") for name in VARIANTS}
    assert parts(metrics, 1) == VARIANTS | of_both_sweeps | {"const_velocity_oracle"}
    assert {"moving", "static", "ground", "nonground", "all"} == parts(metrics, 2)
    assert "copy_last_zbuffer_0.35deg_t0" in answer.out and "…" not in answer.out
    assert (tmp_path / "figures" / "l1_by_horizon.png").is_file()


def test_without_boxes_there_is_no_moving_row(tmp_path, foretell, street_writer):
    street_writer(tmp_path / "data" / "drive", num_sweeps=4, boxes=False)
    answer = foretell("lidar", "forecast", "--data.kind", "folder", "--data.root",
                      tmp_path / "data", "--data.eval_splits", "[all]", "--data.num_sweeps", 1,
                      "--eval.horizons_s", "[0.5]", "--figures", 0,
                      "--out", tmp_path / "run", "--quiet")  # fmt: skip
    assert answer.code == 0, answer.err
    metrics = read_metrics(tmp_path / "run")
    assert parts(metrics, 1) == VARIANTS
    assert parts(metrics, 2) == {"all", "ground", "nonground"}
    assert not (tmp_path / "run" / "figures").exists()


def test_further_horizons_are_marked_and_training_data_is_named(
    tmp_path, foretell, street_root, pretrained
):
    answer = foretell("lidar", "forecast", "--model", pretrained / "model",
                      "--eval.horizons_s", "[0.5, 1.0, 1.5, 2.0]", "--data.eval_splits", "[train]",
                      "--eval.max_windows", 1, "--eval.chamfer", "false", "--figures", 0,
                      "--out", tmp_path)  # fmt: skip
    assert answer.code == 0, answer.err
    metrics = read_metrics(tmp_path)
    assert metrics["forecast/model/all/2.0s/extrapolated"] == 1
    assert metrics["forecast/model/all/mean/extrapolated"] == 1
    assert "forecast/model/all/0.5s/extrapolated" not in metrics
    assert "forecast/copy_last/all/2.0s/extrapolated" not in metrics
    assert "were trained on: these numbers show fit, not forecasting" in answer.err
    assert "2.0s extrapolated" in answer.out and "mean extrapolated" in answer.out
    assert "1.0s extrapolated" not in answer.out


def test_only_horizons_of_the_curriculum_count_as_trained():
    data = DataConfig(horizons_s=[0.5, 1.0, 1.5, 2.0])
    stages = CurriculumConfig(stages=[[1, 12], [3, 36]])
    assert trained_horizons_s(PretrainConfig(data=data, curriculum=stages)) == [0.5, 1.0, 1.5]
    cut = TrainerConfig(max_epochs=5)
    assert trained_horizons_s(PretrainConfig(data=data, curriculum=stages, trainer=cut)) == [0.5]
    capped = dataclasses.replace(stages, max_horizon=2)
    assert trained_horizons_s(PretrainConfig(data=data, curriculum=capped)) == [0.5, 1.0]


def refused(foretell, tmp_path, street_root, pretrained, *flags):
    answer = foretell("lidar", "forecast", "--model", pretrained / "model", "--data.root",
                      street_root, "--out", tmp_path, "--quiet", *flags)  # fmt: skip
    assert answer.code == 2 and answer.err.count("\n") == 1, answer.err
    return answer.err


def test_steps_that_the_recurrence_never_took_are_refused(
    foretell, tmp_path, street_root, pretrained
):
    for given, wanted in (("[1.0]", "[0.5, 1.0]"), ("[0.5, 2.0]", "[0.5, 1.0, 1.5, 2.0]"),
                          ("[0.25, 0.5]", "[0.5]"), ("[0.2]", "[0.5]")):  # fmt: skip
        error = refused(foretell, tmp_path, street_root, pretrained, "--eval.horizons_s", given)
        assert f"are not the steps of the model's recurrence: give {wanted}" in error


def test_input_of_other_columns_is_refused(foretell, tmp_path, street_root, pretrained):
    error = refused(foretell, tmp_path, street_root, pretrained, "--data.num_sweeps", 2)
    assert "'dt'], the model was trained with ['x', 'y', 'z', 'intensity']" in error


@pytest.mark.slow
def test_t11_an_overfitted_sequence_beats_copying_on_moving_points(
    tmp_path, foretell, street_writer, tiny_yaml
):
    """Two to three minutes on one core: four windows of a street in which one car drives."""
    street_writer(tmp_path / "data" / "first", num_sweeps=5)
    answer = foretell(
        "lidar", "pretrain", "--config", tiny_yaml, "--data.root", tmp_path / "data",
        "--data.splits", "[first]", "--data.eval_splits", "[first]", "--data.horizons_s", "[0.5]",
        "--mask.type", "none", "--rays.ground_filter", "false", "--rays.n", 512,
        "--render.n_uniform", 32, "--render.n_importance", 16, "--field.f_geo", "[64, 64]",
        "--encoder.channels", "[8, 16, 32, 32]", "--optim.lr", 0.005, "--optim.warmup_iters", 10,
        "--trainer.max_steps", 150, "--trainer.log_every_n_steps", 50, "--eval.chamfer", "false",
        "--eval.max_range_m", 14, "--out", tmp_path / "run", "--quiet",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    answer = foretell("lidar", "forecast", "--model", tmp_path / "run" / "model", "--figures", 0,
                      "--out", tmp_path / "scored", "--quiet")  # fmt: skip
    assert answer.code == 0, answer.err
    metrics = read_metrics(tmp_path / "scored")
    model, copy_last = (
        metrics[f"forecast/{who}/moving/0.5s/l1_m"] for who in ("model", "copy_last")
    )
    assert model < copy_last, (model, copy_last)
    assert metrics["forecast/model/moving/0.5s/frames"] == 4
