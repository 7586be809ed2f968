"""`foretell lidar study`: pretrain and score variants x folds x seeds, one CSV row each.

The list of variants and the metrics stand in the configuration; a finished row is never run again,
an interrupted one goes on from its checkpoint. Each row is scored once, on `data.eval_splits`.
"""

import hashlib
import itertools
import json
import logging
import re
import subprocess
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import foretell
from foretell.config import RunOptions, to_dict
from foretell.errors import UserError
from foretell.run import RunDirectory, atomic_write
from foretell.study import Cell, CommandWork, Row, Study, run_command
from lidar.config import ForecastStudyConfig, PretrainConfig
from lidar.study_summary import summary

_log = logging.getLogger(__name__)

SMOKE = {
    "trainer.max_steps": 4,
    "optim.warmup_iters": 1,
    "eval.select_windows": 2,
    "eval.recalibrate_windows": 2,
    "eval.max_windows": 2,
    "eval.max_rays": 512,
}
SMOKE_FORECAST = {name: value for name, value in SMOKE.items() if name.startswith("eval.max_")}


def run(config: ForecastStudyConfig, options: RunOptions) -> None:
    """Run the rows that the CSV lacks, then write the summary beside it.

    Raises:
        UserError: An incomplete configuration, or rows that failed.
    """
    for name in ("base", "csv", "variants", "metrics"):
        if not getattr(config, name):
            raise UserError(f"{name} is empty: a study needs it")
    run_directory = RunDirectory.create("lidar-study", config, options)
    rows = study_rows(config, options, run_directory.path)
    path = run_directory.path / "smoke.csv" if config.smoke else Path(config.csv)
    metrics = spelt_out(config.metrics)
    columns = (*metrics, "windows", "train_seconds", "score_seconds", "commit")
    study = Study(path, columns, jobs=config.jobs, threads=1)
    finished = study.run(rows, smoke=config.smoke)
    head = provenance(config, finished, num_rows=len(rows))
    text = head + summary(finished, metrics, reference=config.reference)
    atomic_write(path.with_suffix(".md"), text)
    _log.info("%s", text)


def spelt_out(names: list[str]) -> list[str]:
    """Names with every `{a,b}` replaced by each of its words, in order.

    Example:
        >>> spelt_out(["x/{a, b}/{c,d}", "y"])
        ['x/a/c', 'x/a/d', 'x/b/c', 'x/b/d', 'y']
    """
    found = []
    for name in names:
        parts = re.split(r"\{([^}]*)\}", name)
        choices = [re.split(r"\s*,\s*", p) if i % 2 else [p] for i, p in enumerate(parts)]
        found += ["".join(words) for words in itertools.product(*choices)]
    return found


def study_rows(config: ForecastStudyConfig, options: RunOptions, folder: Path) -> list[Row]:
    """All rows, in the order of the configuration."""
    names = config.only or list(config.variants)
    unknown = [name for name in [*names, *config.num_seeds] if name not in config.variants]
    if unknown:
        raise UserError(f"no variant {unknown[0]!r}; there are: {', '.join(config.variants)}")
    rows = []
    for variant in names:
        for fold, fold_values in (config.folds or {"": {}}).items():
            for seed in range(options.seed, options.seed + config.num_seeds.get(variant, 1)):
                values = {**config.common, **config.variants[variant], **fold_values}
                if config.data_root:
                    values["data.root"] = config.data_root
                name = "/".join(part for part in (variant, fold, f"seed_{seed}") if part)
                smoke, smoke_forecast = (SMOKE, SMOKE_FORECAST) if config.smoke else ({}, {})
                work = partial(
                    pretrain_and_score,
                    base=config.base,
                    values={**values, **smoke},
                    forecast={**config.forecast, **smoke_forecast},
                    seed=seed,
                    out=str(folder / name),
                    metrics=spelt_out(config.metrics),
                )
                parameters: dict[str, Cell] = {
                    "variant": variant,
                    "fold": fold,
                    "seed": seed,
                    "config_sha": fingerprint(config, values),
                }
                rows.append(Row(name, parameters, work))
    return rows


def pretrain_and_score(
    *,
    base: str,
    values: dict[str, Any],
    forecast: dict[str, Any],
    seed: int,
    out: str,
    metrics: list[str],
) -> dict[str, Cell]:
    """One row: pretrain (or go on), score, and pick the columns.

    `train_seconds` is the wall time of this call's pretraining, start-up included, and of the steps
    that an interrupted call had taken.
    """
    from foretell.history import read_history

    trained, scored = Path(out) / "pretrain", Path(out) / "forecast"
    earlier = [row.get("train/elapsed_s", 0.0) for row in read_history(trained / "metrics.csv")]
    common = ["--quiet", "true"]
    started = time.monotonic()
    if not (trained / "model" / "config.json").is_file():
        words = ["--config", base, *flags({**values, "trainer.threads": 1})]
        resume = ["--resume", "auto"] if (trained / "checkpoints").is_dir() else []
        command = ["lidar", "pretrain", *words, "--seed", str(seed), "--out", str(trained)]
        run_command(CommandWork((*command, *resume, *common), str(trained)), 1)
    middle = time.monotonic()
    command = ["lidar", "forecast", "--model", str(trained / "model"), "--out", str(scored)]
    words = flags({"figures": 0, "threads": 1, **forecast})
    found = run_command(CommandWork((*command, *words, *common), str(scored)), 1)
    missing = [name for name in metrics if name not in found]
    missing = [name for name in missing if name.split("/")[1] == "model"]
    if missing:
        raise ValueError(f"metrics.json of {scored} has no {missing[0]}")
    return {
        **{name: found.get(name) for name in metrics},
        "windows": num_windows(found),
        "train_seconds": round(middle - started + max(earlier, default=0.0), 1),
        "score_seconds": round(time.monotonic() - middle, 1),
        "commit": commit(),
    }


def provenance(config: ForecastStudyConfig, rows: list[dict[str, str]], *, num_rows: int) -> str:
    """What must stand beside the numbers: where they come from and what was scored."""
    from foretell.presets import read_config
    from lidar.evaluation.forecast_metrics import FORMULA_VERSION

    name = Path(config.csv).stem
    base = flat(to_dict(PretrainConfig())) | flat(read_config(config.base, "lidar")[0])
    values = {**base, **config.common, **config.forecast}
    folds = config.folds or {"": {}}
    scored = "; ".join(
        f"{fold} {', '.join({**values, **own}['data.eval_splits'])}".strip()
        for fold, own in folds.items()
    )
    sweeps = values["data.num_sweeps"]
    limits = f"{values['eval.min_range_m']:g} m to "
    limits += f"{values['eval.max_range_m']:g} m" if values["eval.max_range_m"] else "any range"
    lines = [
        f"# {name}",
        "",
        f"Rows: `{name}.csv`, one a variant, fold and seed; {len(rows)} of {num_rows} so far, each "
        f"scored once. Configuration: `{name}.yaml` (its head has the commands), which starts from "
        f"`{config.base}`. Commits: "
        f"{', '.join(sorted({row['commit'] for row in rows}))}. Seeds: "
        f"{', '.join(sorted({row['seed'] for row in rows}, key=int))}; mean ± sample standard "
        "deviation over the n seeds of a line.",
        "",
        f"Scored: {scored}; config ranges, returns from {limits}, formulas v{FORMULA_VERSION}, "
        f"future pose given, input sweeps {sweeps or 'of the data set'} where the variant does not "
        "say otherwise. Lower is better.",
    ]
    return "\n".join([*lines, "", ""])


def num_windows(found: Mapping[str, Any]) -> Cell:
    """Windows scored: the frames at one horizon, to each of which a window gives one."""
    names = re.compile(r"forecast/model/all/[0-9.]+s/frames")
    return max((value for name, value in found.items() if names.fullmatch(name)), default=None)


def flags(values: dict[str, Any]) -> list[str]:
    """Dotted keys as command-line words."""
    words = []
    for name, value in values.items():
        words += [f"--{name}", value if isinstance(value, str) else json.dumps(value)]
    return words


def fingerprint(config: ForecastStudyConfig, values: dict[str, Any]) -> str:
    """What a row depends on besides its seed: base configuration, overrides and scoring.

    Values that equal the defaults do not count, so that a new key leaves finished rows valid.
    """
    from foretell.presets import read_config

    defaults = flat(to_dict(PretrainConfig()))
    chosen = {**flat(read_config(config.base, "lidar")[0]), **values}
    own = {
        name: value
        for name, value in chosen.items()
        if name != "data.root" and (name not in defaults or defaults[name] != value)
    }
    content = [own, to_dict(config)["forecast"]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys of a nested mapping.

    Example:
        >>> flat({"a": {"b": 1}, "c": 2})
        {'a.b': 1, 'c': 2}
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        inner = isinstance(value, Mapping)
        found |= flat(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": value}
    return found


def commit() -> str:
    """Commit of the checkout, `installed` for an installed package."""
    root = Path(foretell.__file__).resolve().parents[1]
    command = ["git", "-C", str(root), "rev-parse", "--short=10", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or f"installed {foretell.__version__}"
