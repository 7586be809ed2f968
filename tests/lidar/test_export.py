"""T10: every backbone key travels, and nothing is lost in silence."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from foretell.config import RunOptions, from_yaml
from foretell.errors import UserError
from foretell.model_folder import save
from lidar.config import EncoderConfig, ExportConfig, TrendConfig, VolumeConfig
from lidar.encoders import VoxelResBackBone8x, build_encoder
from lidar.encoders.transfer import convert_bias, load_state
from lidar.export import load_encoder, read_backbone, run, write_backbone
from lidar.sparse import SparseTensor

SMALL = EncoderConfig(channels=[4, 4, 6, 8], blocks_per_stage=1, out_channels=8)
NO_BIAS = replace(SMALL, residual_bias=False)


class Pretrained(nn.Module):
    """As much of a pretrained model as export reads."""

    def __init__(self, encoder: VoxelResBackBone8x) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = nn.Linear(2, 2)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def random_encoder(config: EncoderConfig = SMALL, in_channels: int = 4) -> VoxelResBackBone8x:
    """Weights and statistics that differ from a fresh network's."""
    encoder = build_encoder(config, in_channels)
    for name, tensor in encoder.state_dict().items():
        if tensor.is_floating_point():
            tensor.copy_(
                torch.rand_like(tensor) + 0.1 if "var" in name else torch.randn(()) * tensor
            )
            tensor.add_(0.1 * torch.randn_like(tensor).abs())
    return encoder


def saved_model(folder: Path, encoder: VoxelResBackBone8x, *, source: str = "x_conv4") -> Path:
    config = TrendConfig(encoder=encoder.config, volume=VolumeConfig(source))  # type: ignore[arg-type]
    save(Pretrained(encoder), config, folder / "model", "# a model")
    return folder / "model"


def volume(encoder: VoxelResBackBone8x, in_channels: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    coords = (torch.rand(1, 17, 16, 16, generator=generator) < 0.1).nonzero()
    feats = torch.randn(len(coords), 4, generator=generator)
    feats = nn.functional.pad(feats, (0, in_channels - 4), value=3.0)
    x = SparseTensor(coords, feats, (17, 16, 16), 1)
    with torch.no_grad():
        return encoder.eval()(x, until="x_conv4").x_conv4.dense()


def spconv_1(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.permute(1, 2, 3, 4, 0) if v.ndim == 5 else v for k, v in state.items()}


@pytest.mark.parametrize(("source", "initial"), [("x_conv4", 6), ("conv_out", 0)])
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors", "folder"])
def test_all_keys_travel(tmp_path: Path, source: str, initial: int, name: str) -> None:
    encoder = random_encoder()
    model = saved_model(tmp_path, encoder, source=source)
    run(ExportConfig(model=str(model)), RunOptions(out=str(tmp_path / name)))
    path = tmp_path / name
    path = path / "backbone_3d.pth" if name == "folder" else path
    other = random_encoder()
    report = load_encoder(other, path)
    assert len(report.keys("initial")) == initial
    assert len(report.keys("loaded")) == len(encoder.state_dict()) - initial
    assert all(key.startswith("conv_out.") for key in report.keys("initial"))
    for key, tensor in encoder.state_dict().items():
        assert torch.equal(other.state_dict()[key], tensor), key
    assert report.backbone_share == pytest.approx(
        1
        - (encoder.conv_out[0].weight.numel() if initial else 0)
        / sum(p.numel() for p in encoder.parameters() if p.ndim == 5)
    )


def test_configuration_and_environment_lie_beside_the_weights(tmp_path: Path) -> None:
    config = ExportConfig(model=str(saved_model(tmp_path, random_encoder())))
    run(config, RunOptions(out=str(tmp_path / "folder")))
    names = {path.name for path in (tmp_path / "folder").iterdir()}
    assert names == {"backbone_3d.pth", "config.yaml", "env.json"}
    run(config, RunOptions(out=str(tmp_path / "files" / "car.pth")))
    names = {path.name for path in (tmp_path / "files").iterdir()}
    assert names == {"car.pth", "car.config.yaml", "car.env.json"}
    kept = (tmp_path / "files" / "car.config.yaml").read_text()
    assert from_yaml(ExportConfig, kept) == config


def test_file_is_plain_tensors_in_openpcdets_layout(tmp_path: Path) -> None:
    encoder = random_encoder()
    model = saved_model(tmp_path, encoder)
    run(ExportConfig(model=str(model)), RunOptions(out=str(tmp_path / "w.pth")))
    content = torch.load(tmp_path / "w.pth", weights_only=True)
    assert set(content) == {"model_state", "status"}
    assert content["model_state"].keys() == content["status"].keys()
    assert content["model_state"]["backbone_3d.conv_input.0.weight"].shape == (4, 3, 3, 3, 4)
    assert content["status"]["backbone_3d.conv_out.1.running_mean"] == "initial"
    assert content["status"]["backbone_3d.conv1.0.bn1.weight"] == "trained"


def test_older_layout_loads(tmp_path: Path) -> None:
    encoder, other = random_encoder(), random_encoder()
    write_backbone(tmp_path / "w.pth", spconv_1(encoder.state_dict()), {})
    report = load_encoder(other, tmp_path / "w.pth")
    assert len(report.keys("loaded")) == len(encoder.state_dict())
    torch.testing.assert_close(volume(other), volume(encoder))


def test_bias_conversions_are_exact(tmp_path: Path) -> None:
    with_bias = random_encoder()
    without = random_encoder(NO_BIAS)
    for name, source, target in (
        ("off", with_bias, build_encoder(NO_BIAS, 4)),
        ("on", without, build_encoder(SMALL, 4)),
    ):
        path = tmp_path / f"{name}.pth"
        write_backbone(path, source.state_dict(), {})
        report = load_encoder(target, path)
        assert len(report.keys("adapted")) == 8
        assert not report.keys("missing") and not report.keys("unexpected")
        torch.testing.assert_close(volume(target), volume(source), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("choice", "tensors"), [("on", 142), ("off", 126)])
def test_export_converts_bias(tmp_path: Path, choice: str, tensors: int) -> None:
    encoder = build_encoder(EncoderConfig(residual_bias=choice == "off"), 5)
    model = saved_model(tmp_path, encoder)
    config = ExportConfig(model=str(model), residual_bias=choice)  # type: ignore[arg-type]
    run(config, RunOptions(out=str(tmp_path / "w.pth")))
    state, status = read_backbone(tmp_path / "w.pth")
    assert len(state) == len(status) == tensors
    load_encoder(build_encoder(EncoderConfig(residual_bias=choice == "on"), 5), tmp_path / "w.pth")


def test_bias_and_back_is_the_same() -> None:
    state = random_encoder(NO_BIAS).state_dict()
    there, made = convert_bias(state, bias=True)
    back, _ = convert_bias(there, bias=False)
    assert len(made) == 8
    assert back.keys() == state.keys()
    assert all(torch.equal(back[key], state[key]) for key in state)


def test_more_inputs_are_padded(tmp_path: Path) -> None:
    encoder, wider = random_encoder(), random_encoder(in_channels=5)
    write_backbone(tmp_path / "w.pth", encoder.state_dict(), {})
    report = load_encoder(wider, tmp_path / "w.pth")
    assert report.keys("adapted") == ["conv_input.0.weight"]
    assert "1 adapted (conv_input.0.weight)" in str(report)
    torch.testing.assert_close(volume(wider, 5), volume(encoder))


def test_skipping_the_input_needs_partial(tmp_path: Path) -> None:
    write_backbone(tmp_path / "w.pth", random_encoder().state_dict(), {})
    wider = random_encoder(in_channels=5)
    before = wider.conv_input[0].weight.clone()
    with pytest.raises(UserError, match="conv_input.0.weight"):
        load_encoder(wider, tmp_path / "w.pth", adapt_input="skip")
    report = load_encoder(wider, tmp_path / "w.pth", adapt_input="skip", partial=True)
    assert report.keys("shape_changed") == ["conv_input.0.weight"]
    assert torch.equal(wider.conv_input[0].weight, before)


def test_export_pads_the_input(tmp_path: Path) -> None:
    model = saved_model(tmp_path, random_encoder())
    run(ExportConfig(model=str(model), in_channels=6), RunOptions(out=str(tmp_path / "w.pth")))
    assert load_encoder(random_encoder(in_channels=6), tmp_path / "w.pth").keys("adapted") == []
    with pytest.raises(UserError, match="cannot be dropped"):
        run(ExportConfig(model=str(model), in_channels=3), RunOptions(out=str(tmp_path / "w.pth")))


@pytest.mark.parametrize("fault", ["missing", "shape_changed", "unexpected"])
def test_trained_keys_raise_unless_partial(fault: str) -> None:
    encoder = random_encoder()
    state = dict(encoder.state_dict())
    key = "conv3.0.0.weight"
    if fault == "missing":
        del state[key]
    elif fault == "shape_changed":
        state[key] = state[key][:2]
    else:
        state[key := "conv5.0.weight"] = torch.zeros(3)
    with pytest.raises(UserError, match=f"{key}.*widths and inputs of the file.*partial=True"):
        load_state(random_encoder(), state, {})
    report = load_state(random_encoder(), state, {}, partial=True)
    assert report.outcome[key] == fault
    assert f"{fault:13s} {key}" in report.per_key()


@pytest.mark.parametrize("fault", ["missing", "shape_changed"])
def test_initial_keys_never_raise(fault: str) -> None:
    state = dict(random_encoder().state_dict())
    status = {key: "initial" if key.startswith("conv_out") else "trained" for key in state}
    if fault == "missing":
        del state["conv_out.0.weight"]
    else:
        state["conv_out.0.weight"] = torch.zeros(1, 1, 1, 1, 1)
    report = load_state(random_encoder(), state, status)
    assert report.outcome["conv_out.0.weight"] == fault


def test_declared_but_absent_key_raises() -> None:
    state = random_encoder().state_dict()
    with pytest.raises(UserError, match="conv9"):
        load_state(random_encoder(), state, {"conv9.0.weight": "trained"})


def test_whole_detector_checkpoint(tmp_path: Path) -> None:
    encoder = random_encoder()
    tensors = {f"backbone_3d.{key}": value for key, value in encoder.state_dict().items()}
    tensors |= {"global_step": torch.zeros(1), "dense_head.weight": torch.zeros(3)}
    torch.save({"model_state": tensors, "epoch": 3, "version": "x"}, tmp_path / "det.pth")
    report = load_encoder(random_encoder(), tmp_path / "det.pth")
    assert len(report.outcome) == len(encoder.state_dict())
    assert report.backbone_share == 1.0


def test_wrong_files_are_named(tmp_path: Path) -> None:
    encoder = random_encoder()
    with pytest.raises(UserError, match="no weights file"):
        load_encoder(encoder, tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("not a checkpoint")
    with pytest.raises(UserError, match="text.pth is not a file of plain tensors"):
        load_encoder(encoder, tmp_path / "text.pth")
    torch.save({"model_state": {"head.weight": torch.zeros(1)}}, tmp_path / "head.pth")
    with pytest.raises(UserError, match=r"no backbone_3d\.\* weights"):
        load_encoder(encoder, tmp_path / "head.pth")
    (tmp_path / "bad.safetensors").write_bytes(b"12345678901")
    with pytest.raises(UserError, match="bad.safetensors"):
        load_encoder(encoder, tmp_path / "bad.safetensors")
    save_file({"backbone_3d.x": torch.zeros(1)}, tmp_path / "nostatus.safetensors")
    assert read_backbone(tmp_path / "nostatus.safetensors")[1] == {}


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--model"):
        run(ExportConfig(), RunOptions(out=str(tmp_path)))
    model = saved_model(tmp_path, random_encoder())
    with pytest.raises(UserError, match="--format"):
        run(
            ExportConfig(model=str(model), format="safetensors"),
            RunOptions(out=str(tmp_path / "w.pth")),
        )
