"""Wrong input at the command line: one line that names it, exit code 2, no traceback."""

import json
import resource
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file


@pytest.fixture
def data(tmp_path, street_root):
    """A copy of the street that may be spoilt."""
    return shutil.copytree(
        street_root, tmp_path / "data", ignore=shutil.ignore_patterns(".foretell")
    )


@pytest.fixture
def pretrain(tmp_path, foretell, tiny_yaml):
    """Pretrains on a root with further flags."""

    def run(root, *flags):
        return foretell("lidar", "pretrain", "--config", tiny_yaml, "--data.root", root,
                        "--out", tmp_path / "run", "--quiet", *flags)  # fmt: skip

    return run


def check_refused(answer, *parts):
    assert answer.code == 2, answer
    assert answer.err.startswith("foretell: ") and answer.err.count("\n") == 1, answer.err
    for part in parts:
        assert part in answer.err, answer.err


def sweep(data, number):
    return data / "first" / "points" / f"{number:06d}.bin"


def test_missing_folder(pretrain, foretell, tmp_path):
    missing = tmp_path / "nowhere"
    check_refused(pretrain(missing), str(missing))
    answer = foretell("lidar", "forecast", "--data.root", missing, "--out", tmp_path / "run")
    check_refused(answer, str(missing))
    assert not (tmp_path / "run").exists()


def test_truncated_sweep(pretrain, data):
    path = sweep(data, 2)
    path.write_bytes(path.read_bytes()[:-3])
    check_refused(pretrain(data), path.name, "truncated or of another format")


def test_sweep_truncated_after_the_index_was_written(pretrain, foretell, data, tmp_path):
    words = ["lidar", "prepare", "--data.kind", "folder", "--data.root", data]
    assert foretell(*words, "--out", tmp_path / "prepared").code == 0
    path = sweep(data, 2)
    path.write_bytes(path.read_bytes()[:-3])
    check_refused(pretrain(data), path.name, "truncated or of another format")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_points_that_are_not_finite(pretrain, data, value):
    points = np.fromfile(sweep(data, 2), "<f4").reshape(-1, 4)
    points[7, 1] = value
    points.tofile(sweep(data, 2))
    check_refused(pretrain(data), "000002.bin", "1 point(s) with NaN", "row 7")


def test_empty_sweep(pretrain, data):
    sweep(data, 2).write_bytes(b"")
    check_refused(pretrain(data), "000002.bin is empty")


def test_poses_shorter_than_the_sweeps(pretrain, data):
    path = data / "first" / "poses.npy"
    np.save(path, np.load(path)[:5])
    check_refused(pretrain(data), "poses has 5 rows for 8 sweep files")


def test_times_that_fall(pretrain, data):
    path = data / "first" / "times.txt"
    times = np.loadtxt(path)
    times[4] = times[2]
    np.savetxt(path, times)
    check_refused(pretrain(data), "time of sweep 4 precedes that of sweep 3")


def test_a_gap_takes_out_windows_and_all_windows_gone_is_told(pretrain, data):
    path = data / "first" / "times.txt"
    times = np.loadtxt(path)
    np.savetxt(path, times + 5 * (np.arange(8) >= 5))
    answer = pretrain(data, "--trainer.max_epochs", 1, "--optim.warmup_iters", 0)
    assert answer.code == 0, answer.err  # sweeps 0..4 and 5..7: four windows instead of six
    history = (data.parent / "run" / "metrics.csv").read_text().splitlines()
    assert len(history) == 1 + 2
    np.savetxt(path, times * 10)
    check_refused(pretrain(data), "made from other files", "foretell lidar prepare")
    shutil.rmtree(data / ".foretell")
    check_refused(pretrain(data), "no forecasting window", "first", "data.horizons_s")


def test_horizons_beyond_the_drive(pretrain, data):
    answer = pretrain(data, "--data.horizons_s", "[0.5, 30.0]")
    check_refused(answer, "no forecasting window", "lasts 3.50 s, the horizons are 0.5, 30 s")


def test_voxel_size_that_does_not_divide_the_range(pretrain, data):
    answer = pretrain(data, "--data.voxel_size", "[0.3, 0.5, 0.1]")
    check_refused(answer, "data.voxel_size", "0.3 does not divide the x range")


def test_unknown_split_names_the_nearest(pretrain, data):
    check_refused(pretrain(data, "--data.splits", "[trian]"), "'trian'", "did you mean 'train'?")


def test_unknown_keys_name_the_nearest(pretrain, foretell, data, tmp_path):
    answer = pretrain(data, "--encoder.chanels", "[8]")
    check_refused(answer, "--encoder.chanels", "did you mean '--encoder.channels'?")
    path = tmp_path / "mine.yaml"
    path.write_text("mask: {ration: 0.5}\n")
    check_refused(pretrain(data, "--config", path), "mask.ration", "ratio", "mine.yaml")
    path.write_text("mask: {ratio: 1.5}\n")
    check_refused(pretrain(data, "--config", path), "mask.ratio must lie in [0, 1)")
    answer = foretell("lidar", "pretrian")
    check_refused(answer, "unknown verb", "did you mean 'pretrain'?")


def test_warm_up_longer_than_the_run(pretrain, data):
    answer = pretrain(data, "--optim.warmup_iters", 500)
    check_refused(answer, "optim.warmup_iters 500", "9 steps")


def test_checkpoint_of_another_architecture(pretrain, data, pretrained):
    checkpoint = pretrained / "checkpoints" / "last.ckpt"
    answer = pretrain(data, "--resume", checkpoint, "--encoder.channels", "[4, 8, 8, 12]")
    check_refused(answer, "last.ckpt is of another architecture: model.encoder.conv1.0")
    answer = pretrain(data, "--resume", checkpoint, "--encoder.blocks_per_stage", 2)
    check_refused(answer, "model.encoder.conv1.1.bn1.bias is missing there and [8] here")


def test_model_of_another_architecture(foretell, street_root, pretrained, tmp_path):
    model = shutil.copytree(pretrained / "model", tmp_path / "model")
    content = json.loads((model / "config.json").read_text())
    content["config"]["encoder"]["blocks_per_stage"] = 2
    (model / "config.json").write_text(json.dumps(content))
    words = ["--data.root", street_root, "--out", tmp_path / "run"]
    answer = foretell("lidar", "forecast", "--model", model, *words)
    check_refused(answer, str(model), "does not fit the model")
    answer = foretell("lidar", "forecast", "--model", tmp_path / "none", *words)
    check_refused(answer, "no pretrained model in", "none")


def test_scoring_with_other_voxels_or_no_horizon(foretell, street_root, pretrained, tmp_path):
    out = ["--out", tmp_path / "run"]
    answer = foretell("lidar", "forecast", "--model", pretrained / "model",
                      "--data.voxel_size", "[1.0, 1.0, 0.1]", *out)  # fmt: skip
    check_refused(answer, "data.voxel_size", "the model was trained with [0.5, 0.5, 0.1]")
    answer = foretell("lidar", "forecast", "--data.kind", "folder", "--data.root", street_root,
                      *out)  # fmt: skip
    check_refused(answer, "no horizon to score: give --eval.horizons_s")


def test_a_full_disk_leaves_the_old_model(pretrain, data, pretrained, tmp_path):
    shutil.copytree(pretrained, tmp_path / "run")
    model = tmp_path / "run" / "model"
    before = load_file(model / "model.safetensors")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        answer = pretrain(data)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    check_refused(answer, "cannot write", "the previous file, if any, is unchanged")
    after = load_file(model / "model.safetensors")
    assert all(after[name].equal(value) for name, value in before.items())
    assert not list((tmp_path / "run").rglob("*.tmp"))


def test_a_file_where_the_run_folder_should_be(foretell, street_root, tiny_yaml, tmp_path):
    (tmp_path / "run").write_text("")
    answer = foretell("lidar", "pretrain", "--config", tiny_yaml, "--data.root", street_root,
                      "--out", tmp_path / "run")  # fmt: skip
    check_refused(answer, "cannot make the run folder")
