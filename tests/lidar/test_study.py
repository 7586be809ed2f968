"""The study: its rows, what identifies them, the summary, and a run end to end."""

import csv

import pytest
import yaml

from foretell.cli import main
from foretell.config import RunOptions
from foretell.errors import UserError
from lidar.config import ForecastStudyConfig
from lidar.evaluation.moving_gain import CONDITIONS
from lidar.study import fingerprint, flags, num_windows, provenance, spelt_out, study_rows
from lidar.study_summary import judged_horizons, spread, summary

CONFIG = ForecastStudyConfig(
    base="trend_demo",
    variants={"full": {}, "nf": {"ablation.level": "nf"}},
    num_seeds={"full": 2},
    folds={"a": {"data.splits": ["x"]}, "b": {"data.splits": ["y"]}},
    metrics=["forecast/model/all/0.5s/l1_m"],
    csv="study.csv",
)


def test_rows_are_variants_by_folds_by_seeds(tmp_path):
    rows = study_rows(CONFIG, RunOptions(seed=3), tmp_path)
    assert [row.name for row in rows] == [
        "full/a/seed_3", "full/a/seed_4", "full/b/seed_3", "full/b/seed_4",
        "nf/a/seed_3", "nf/b/seed_3",
    ]  # fmt: skip
    assert len({row.parameters["config_sha"] for row in rows}) == 4


def test_variants_overrule_the_common_keys(tmp_path):
    common = {"rays.n": 4, "ablation.level": "rec"}
    config = ForecastStudyConfig(**{**vars(CONFIG), "common": common, "num_seeds": {}})
    given = [row.work.keywords["values"] for row in study_rows(config, RunOptions(), tmp_path)]
    assert [values["rays.n"] for values in given] == [4] * 4
    assert [values["ablation.level"] for values in given] == ["rec", "rec", "nf", "nf"]


def test_unknown_variant_is_named(tmp_path):
    with pytest.raises(UserError, match="no variant 'nope'; there are: full, nf"):
        study_rows(
            ForecastStudyConfig(**{**vars(CONFIG), "only": ["nope"]}), RunOptions(), tmp_path
        )


def test_fingerprint_ignores_where_the_data_lie():
    here, there = ({"data.root": root, "rays.n": 4} for root in ("/a", "/b"))
    assert fingerprint(CONFIG, here) == fingerprint(CONFIG, there)
    assert fingerprint(CONFIG, here) != fingerprint(CONFIG, {"rays.n": 5})


def test_fingerprint_ignores_what_is_said_of_a_default():
    default = {"init": "", "rays.surprise_m": 0.5}
    assert fingerprint(CONFIG, default) == fingerprint(CONFIG, {})
    assert fingerprint(CONFIG, {"init": "model"}) != fingerprint(CONFIG, {})
    other = ForecastStudyConfig(**{**vars(CONFIG), "forecast": {"eval.max_windows": 3}})
    assert fingerprint(other, {}) != fingerprint(CONFIG, {})


def test_flags_are_words():
    assert flags({"a.b": [1, 2], "c": "on", "d": 0.5}) == [
        "--a.b", "[1, 2]", "--c", "on", "--d", "0.5",
    ]  # fmt: skip


def test_braces_spell_out_columns():
    assert spelt_out(["f/{m,copy_0.35deg}/all/{0.5s,1.0s}/l1", "plain"]) == [
        "f/m/all/0.5s/l1", "f/m/all/1.0s/l1", "f/copy_0.35deg/all/0.5s/l1",
        "f/copy_0.35deg/all/1.0s/l1", "plain",
    ]  # fmt: skip


def rows_of(variant: str, moving: list[float]) -> list[dict[str, str]]:
    made = []
    for seed, level in enumerate(moving):
        row = {"variant": variant, "fold": "", "seed": str(seed)}
        for where in CONDITIONS:
            rays, metric = where.split("/")
            row[f"forecast/copy_last/{rays}/0.5s/{metric}"] = "1.0"
            scored = level if rays == "moving" else 0.8 + 0.1 * level
            row[f"forecast/model/{rays}/0.5s/{metric}"] = repr(scored)
        made.append(row)
    return made


def test_summary_gives_spread_and_verdicts():
    rows = rows_of("full", [0.5, 0.6]) + rows_of("nf", [1.4, 1.5])
    metrics = [name for name in rows[0] if name.startswith("forecast/")]
    assert judged_horizons(metrics) == ["0.5s"]
    text = summary(rows, metrics, reference="nf")
    assert "0.550 ± 0.071" in text
    assert "full against copy_last at 0.5s: the gain counts, 2 seeds" in text
    assert "full against nf at 0.5s: the gain counts" in text
    assert "nf against copy_last at 0.5s: no gain" in text
    assert "moving/l1_m 1.450 against 1.000 (spread of the difference 0.071, fails)" in text


def test_folds_are_compared_by_the_sign_of_the_gap():
    place = "all/0.5s/l1_m"
    names = [f"forecast/{who}/{place}" for who in ("model", "copy_last_a", "copy_last_b")]

    def row(variant, fold, seed, *values):
        cells = dict(zip(names, map(str, values), strict=True))
        return {"variant": variant, "fold": fold, "seed": str(seed), "windows": "6", **cells}

    rows = [
        row("good", "one", 0, 0.5, 1.0, 0.75), row("good", "one", 1, 0.25, 1.0, 0.75),
        row("good", "two", 0, 0.5, 0.75, 2.0), row("other", "one", 0, 0.5, 1.0, 0.75),
        row("other", "two", 0, 1.0, 0.75, 2.0), row("half_run", "one", 0, 0.5, 1.0, 0.75),
    ]  # fmt: skip
    text = summary(rows, names)
    assert "| good, 0.5s | -0.375 ± 0.177 | -0.250 | below everywhere |" in text
    assert "| other, 0.5s | -0.250 | 0.250 | mixed |" in text
    assert "| half_run, 0.5s | -0.250 |  |  |" in text
    assert text.endswith("Windows scored in one: 6.\n\nWindows scored in two: 6.\n")
    assert "best copy-last" not in summary(rows[:2], names)


def test_the_head_of_a_summary_says_what_was_scored():
    rows = [{"seed": seed, "commit": "abc"} for seed in ("0", "10", "9")]
    text = provenance(CONFIG, rows, num_rows=6)
    assert text.startswith("# study\n\nRows: `study.csv`")
    assert "3 of 6 so far, each scored once" in text
    assert "starts from `trend_demo`. Commits: abc. Seeds: 0, 9, 10;" in text
    assert "Scored: a val; b val; config ranges, returns from 1 m to 30 m, formulas v1, " in text
    assert "future pose given, input sweeps 3 where" in text


def test_windows_are_the_frames_of_one_horizon():
    place = "forecast/model/all"
    found = {f"{place}/0.5s/frames": 72, f"{place}/1.0s/frames": 72, f"{place}/mean/frames": 144}
    assert num_windows(found) == 72
    assert num_windows({f"{place}/mean/l1_m": 0.5}) is None


def test_spread_of_few_values():
    assert (spread([]), spread([1.0]), spread([2.0, 2.0])) == ("", "1.000", "2.000")


@pytest.mark.slow
def test_smoke_runs_the_first_row_end_to_end(tmp_path):
    drive = tmp_path / "drive"
    simulate = ["lidar", "simulate", "--config", "sim_demo", "--sensor", "small", "--workers", "1"]
    assert main([*simulate, "--scenes", "2", "--out", str(drive), "--quiet"]) == 0
    config = {
        "base": "trend_demo",
        "variants": {"full": {}},
        "metrics": ["forecast/{model,copy_last,absent}/all/0.5s/l1_m"],
        "csv": str(tmp_path / "never.csv"),
        "data_root": str(drive),
        "smoke": True,
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config))
    out = tmp_path / "out"
    command = ["lidar", "study", "--config", str(tmp_path / "study.yaml"), "--out", str(out)]
    assert main(command) == 0
    with (out / "smoke.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["forecast/copy_last/all/0.5s/l1_m"]) > 0
    assert row["forecast/absent/all/0.5s/l1_m"] == ""
    assert not (tmp_path / "never.csv").exists()
    assert main(command) == 0  # a finished row is not run again
