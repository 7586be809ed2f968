"""Make tests/fixtures/models/trend_tiny: simulate two short drives, pretrain, store answers.

    python tools/make_tiny_model.py

Everything is seeded; half a minute on one core. Needed again only when the format of a model
folder changes, and then the old folder's migration is what the tests should read.
"""

import importlib.util
import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch

from foretell.cli import main
from lidar.saved_model import load_trained

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "tests" / "fixtures" / "models" / "trend_tiny"
SIMULATE = {
    "sensor": "small",
    "format": "folder",
    "scenes": 3,
    "val_scenes": 1,
    "duration_s": 10.0,
    "sweep_hz": 2.0,
    "key_every": 1,
    "truth": "false",
}
PRETRAIN = {
    "curriculum.stages": "[[1, 3], [2, 7]]",
    "optim.warmup_iters": 10,
    "optim.lr": 0.005,
    "trainer.log_every_n_steps": 10,
}


def run() -> None:
    """Simulate, pretrain, copy the model folder, write golden.json."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        drives, trained = Path(scratch) / "drives", Path(scratch) / "run"
        foretell("lidar", "simulate", out=drives, **SIMULATE)
        config = ROOT / "tests" / "fixtures" / "trend_tiny.yaml"
        foretell(
            "lidar", "pretrain", config=config, out=trained, **{"data.root": drives}, **PRETRAIN
        )
        shutil.rmtree(TARGET, ignore_errors=True)
        shutil.copytree(trained / "model", TARGET)
    preset = TARGET / "pretrain.yaml"
    preset.write_text(preset.read_text().replace(str(drives), "drives"))
    answer = load_test().answer
    golden = {
        name: {
            key: [[round(x, 6) for x in row] for row in value.reshape(len(value), -1).tolist()]
            if value.ndim > 1
            else [round(x, 6) for x in value.tolist()]
            for key, value in answer(load_trained(TARGET, unmasked_norms=unmasked)).items()
        }
        for name, unmasked in (("as_trained", False), ("unmasked_norms", True))
    }
    (TARGET / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")


def foretell(*words: str, **flags: object) -> None:
    """Run a verb; stop when it fails."""
    given = [part for key, value in flags.items() for part in (f"--{key}", str(value))]
    code = main([*words, "--quiet", *given])
    if code:
        sys.exit(code)


def load_test():
    """The test module, whose `answer` defines what is stored."""
    path = ROOT / "tests" / "lidar" / "test_saved_model.py"
    spec = importlib.util.spec_from_file_location("test_saved_model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    run()
