"""Every benchmark at a tiny size prints what the table of aims looks for."""

import json
import re
import sys

import pytest

from foretell.config import RunOptions
from lidar.simulate.config import SimulateConfig


def table(run_all, script, output):
    """Rows of the summary that a script feeds, by name: (aim, measured, verdict)."""
    rows = [aim.row(output) for aim in run_all["AIMS"] if aim.script == script]
    split = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    return {name: tuple(rest) for name, *rest in split}


def measured(rows):
    return all(re.match(r"[\d.]+", value) for _, value, _ in rows.values())


def test_the_field_agrees_in_float64_and_feeds_its_aims(bench, run_all):
    output = bench(
        "field.py", "--rays", "8", "--rounds", "2", "--voxel-m", "1.2", "--chunk-rays", "8",
        "--few", "1",
    )  # fmt: skip
    rows = table(run_all, "field.py", output)
    assert len(rows) == 15 and measured(rows), output
    apart = re.findall(r"float32 (\S+), float64 (\S+)", output)
    assert len(apart) == 7  # interpolation and first layer of three widths, the whole step
    assert all(float(single) < 1e-3 and float(double) < 1e-9 for single, double in apart)
    assert "d1 = 128" in output and "first layer forward" in output


def test_the_first_convolution_of_f3d_agrees_and_feeds_its_rows(bench, run_all):
    output = bench("recurrence.py", "--size", "4", "--rounds", "1")
    rows = table(run_all, "recurrence.py", output)
    assert len(rows) == 4 and measured(rows), output
    apart = re.findall(r"float32 (\S+), float64 (\S+)", output)
    assert len(apart) == 2 and all(float(double) < 1e-12 for _, double in apart)
    assert output.count("peak memory") == 6


def test_a_training_step_feeds_its_aims(bench, run_all, monkeypatch, tmp_path):
    pytest.importorskip("open3d", exc_type=ImportError)
    from lidar.simulate import command

    def write_here(root, config, seed, waiting):
        for scene in waiting:
            command.write_scene(root, config, seed, scene)

    monkeypatch.setattr(command, "_write_scenes", write_here)
    drive = SimulateConfig(scenes=1, val_scenes=0, duration_s=1.0, sensor="small")
    command.run(drive, RunOptions(out=str(tmp_path / "drive"), quiet=True))
    timing = sys.modules["timing"]
    fresh = timing.in_fresh_process
    given, known = [], {}

    def small(script, setting, *arguments):
        given.append(json.loads(setting))
        tiny = json.dumps(given[-1] | {"rays": 8, "chunk": 4, "shape": "coarse"})
        if tiny not in known:
            known[tiny] = fresh(script, tiny, *arguments)
        return known[tiny]

    monkeypatch.setattr(timing, "in_fresh_process", small)
    data = ["--data", str(tmp_path / "drive")]
    output = bench("train_step.py", *data, "--shapes", "nuScenes", "ONCE")
    rows = table(run_all, "train_step.py", output)
    assert len(rows) == 10 and measured(rows), output
    assert [(each["shape"], each["batch"], each["rays"]) for each in given] == [
        ("nuScenes", 1, 12288), ("nuScenes", 3, 12288), ("ONCE", 1, 12288), ("ONCE", 3, 12288),
    ]  # fmt: skip
    for part in ("data loading", "encoder", "f_3D", "field + render", "optimiser"):
        assert part in output
    aim, _, verdict = rows["training step, nuScenes, batch 1: peak GiB"]
    assert (aim, verdict) == ("<= 24", "met")
    assert rows["training step, nuScenes, batch 3: peak GiB"][2] == ""


def test_sparse_convolution_runs_without_spconv(bench, run_all):
    output = bench("sparse_conv.py", "--channels", "4", "--repeats", "1")
    rows = table(run_all, "sparse_conv.py", output)
    assert measured({name: row for name, row in rows.items() if "dense conv3d" in name}), output
    assert all(row[1] == "not measured" for name, row in rows.items() if "spconv" in name)


def test_the_slowest_rows_against_spconv_are_held_to_bar_and_aim(bench, run_all, capsys):
    import sparse_conv

    ratios = {"sweep, C=16 forward": 0.4, "sweep, C=32 forward": 0.8, "sweep, kernel map": 2.0}
    sparse_conv._print_slowest("all rows", ratios)
    sparse_conv._print_slowest(
        "rows of 32 and 64 channels", {"sweep, C=32 forward": 0.8, "sweep, C=64 forward": 1.25}
    )
    rows = table(run_all, "sparse_conv.py", capsys.readouterr().out)
    slowest = "sparse convolution, slowest row"
    assert rows[f"{slowest}: ours / spconv, time"] == ("<= 2", "2.5", "missed")
    assert rows[f"{slowest} of 32 and 64 channels: ours / spconv, time"] == (
        "<= 1",
        "1.25",
        "missed",
    )


def test_run_all_times_spconv_at_the_widths_of_the_aim(run_all):
    assert {"16", "32", "64"} <= set(run_all["COMMANDS"]["sparse_conv.py"])
    assert set(run_all["COMMANDS"]) == {aim.script for aim in run_all["AIMS"]}


@pytest.mark.parametrize(
    ("output", "verdict"), [("ratio 3.50 [3.1, 3.9]", "met"), ("ratio 3.49", "missed")]
)
def test_an_aim_says_met_or_missed(run_all, output, verdict):
    aim = run_all["Aim"]("x", "field.py", run_all["RATIO"], at_least=3.5)
    assert aim.row(output).endswith(f"| {verdict} |")
