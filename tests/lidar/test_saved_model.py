"""The tiny model that comes with the tests, and what a model folder refuses."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from foretell.errors import UserError
from lidar.doctor import made_up_batch
from lidar.saved_model import NORMS, load_trained, trained_config
from lidar.trend import Trend

FOLDER = Path(__file__).resolve().parents[1] / "fixtures" / "models" / "trend_tiny"


def answer(model: Trend) -> dict[str, torch.Tensor]:
    """What the model says of `lidar.doctor.made_up_batch` (golden.json was made with this)."""
    batch = made_up_batch(rays=8)
    with torch.no_grad():
        scene = model.encode(batch.points, batch.point_batch, batch.batch_size)
        gaps_s = batch.t_s.diff(dim=1)
        later = model.roll_out(scene, batch.action, gaps_s)[1]
        rendered = model.render(
            later, batch.t_s[:, 1], batch.ray_o[:, 1], batch.ray_d[:, 1], intensity=True
        )
    return {
        "volume_mean": scene.volume.mean(dim=(1, 2, 3, 4)),
        "range_m": rendered.range_m,
        "intensity": rendered.intensity,
    }


@pytest.mark.parametrize("unmasked_norms", [False, True])
def test_stored_answers_of_the_tiny_model(unmasked_norms):
    golden = json.loads((FOLDER / "golden.json").read_text())
    model = load_trained(FOLDER, unmasked_norms=unmasked_norms)
    assert not model.training
    for name, value in answer(model).items():
        want = torch.tensor(golden["unmasked_norms" if unmasked_norms else "as_trained"][name])
        torch.testing.assert_close(value, want, rtol=0, atol=1e-4)


def test_the_folder_is_complete_and_small():
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert {"config.json", "model.safetensors", "README.md", "pretrain.yaml", NORMS} <= set(sizes)
    assert sum(sizes.values()) < 300_000
    config, trained = Trend.from_pretrained(FOLDER).config, trained_config(FOLDER)
    assert config.encoder == trained.encoder and config.horizons_s == trained.data.horizons_s
    assert config.copy_last["l1_m"].startswith("copy_last_")
    norms = load_file(FOLDER / NORMS)
    assert norms and all("running_" in name or "num_batches" in name for name in norms)


@pytest.fixture
def copied(tmp_path):
    """A copy of the folder that may be spoilt."""
    return Path(shutil.copytree(FOLDER, tmp_path / "model"))


def change_config(folder, change):
    path = folder / "config.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["config"]["encoder"].update(channels=[8, 8, 8, 24]), "does not fit the model"),
        (lambda c: c["config"]["encoder"].update(blocks_per_stage=2), r"\d+ missing"),
        (lambda c: c["config"]["ablation"].update(level="nf"), r"\d+ unexpected"),
        (lambda c: c["config"]["encoder"].update(chanels=[8]), "did you mean 'channels'"),
        (lambda c: c.update(architecture="Detector"), "holds a Detector, not a Trend"),
        (lambda c: c.update(format_version=99), "upgrade foretell"),
    ],
)
def test_a_changed_configuration_is_refused(copied, change, message):
    change_config(copied, change)
    with pytest.raises(UserError, match=message):
        Trend.from_pretrained(copied)


def test_partial_loads_what_fits(copied):
    change_config(copied, lambda c: c["config"]["encoder"].update(blocks_per_stage=2))
    model = Trend.from_pretrained(copied, partial=True)
    stored = load_file(FOLDER / "model.safetensors")
    name = "encoder.conv_input.0.weight"
    assert torch.equal(model.state_dict()[name], stored[name])


def test_missing_parts_are_named(copied, tmp_path):
    with pytest.raises(UserError, match="no pretrained model in .*pretrain.yaml is missing"):
        trained_config(tmp_path)
    (copied / NORMS).unlink()
    with pytest.raises(UserError, match="eval.recalibrate_bn off"):
        load_trained(copied, unmasked_norms=True)
    (copied / NORMS).write_bytes((FOLDER / NORMS).read_bytes()[:100])
    with pytest.raises(UserError, match=f"{NORMS} is damaged: .*; copy it again or give --eval"):
        load_trained(copied, unmasked_norms=True)
    assert load_trained(copied, unmasked_norms=False)
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="is damaged"):
        Trend.from_pretrained(copied)
