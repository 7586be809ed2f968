"""`foretell lidar export`: the pretrained 3D backbone in OpenPCDet's layout, and reading it back.

Only the sparse backbone is transferred (TREND, NeurIPS version §3.6). A file holds
`{"model_state": {"backbone_3d.<key>": tensor}, "status": {"backbone_3d.<key>": "trained"}}`,
or the same as safetensors with the status in the metadata.
"""

import io
import json
import logging
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from foretell.config import RunOptions
from foretell.errors import UserError
from foretell.model_folder import WEIGHTS, load_config
from foretell.run import RunDirectory, atomic_write
from lidar.config import FORMAT_VERSION, ExportConfig, TrendConfig
from lidar.encoders.transfer import (
    INPUT_WEIGHT,
    Status,
    TransferReport,
    convert_bias,
    load_state,
    pad_input,
)

PREFIX = "backbone_3d."
MODEL_PREFIX = "encoder."
UNUSED_LAYER = "conv_out."
"""Not computed in pretraining when x_conv4 is rendered."""
LICENCES = {
    "nuscenes": "nuScenes: CC BY-NC-SA 4.0, non-commercial",
    "kitti": "KITTI: CC BY-NC-SA 3.0, non-commercial",
    "folder": "own data: the licence is yours to state",
}

_log = logging.getLogger(__name__)


def run(config: ExportConfig, options: RunOptions) -> None:
    """Write the backbone of a pretrained model to `options.out`, a file or a folder.

    Beside it go config.yaml and env.json, `<stem>.config.yaml` and `<stem>.env.json` where
    `options.out` is a file.

    Args:
        config: Model folder and conversions.
        options: Where to.

    Raises:
        UserError: No model, or a file ending that contradicts the format.
    """
    if not config.model:
        raise UserError("export needs --model DIR, the model folder of a pretraining")
    path, kind = _target(config.format, options.out)
    state, status = backbone_of(config.model)
    if config.residual_bias != "as_trained":
        state, changed = convert_bias(state, bias=config.residual_bias == "on")
        status = {key: status.get(key, "trained") for key in state}
        _log.info("residual bias %s: %d tensors converted", config.residual_bias, len(changed))
    if config.in_channels:
        state[INPUT_WEIGHT] = _widen(state[INPUT_WEIGHT], config.in_channels)
    write_backbone(path, state, status, kind=kind)
    beside = RunDirectory(path.parent)
    prefix = f"{path.stem}." if path == Path(options.out) else ""
    beside.write_config(config, prefix=prefix)
    beside.write_env(options, prefix=prefix)
    initial = sorted(key for key, value in status.items() if value == "initial")
    _log.info(
        "%s: %d tensors, %d of them initial%s",
        path, len(state), len(initial),
        f" ({UNUSED_LAYER}*)" if 0 < len(initial) < len(state) else "",
    )  # fmt: skip
    for licence in _licences(Path(config.model)):
        _log.info("data licence of the weights: %s", licence)


def load_encoder(
    encoder: nn.Module,
    path: Path | str,
    *,
    partial: bool = False,
    adapt_input: Literal["zero_pad", "skip"] = "zero_pad",
) -> TransferReport:
    """Load an exported backbone, or the backbone of a whole OpenPCDet detector.

    Args:
        encoder: Network with VoxelResBackBone8x names, filled in place.
        path: File of `export`, or an OpenPCDet checkpoint.
        partial: Accept trained keys that do not fit.
        adapt_input: What to do when the network has more input features (`transfer.adapt_input`).

    Returns:
        What became of every key.

    Raises:
        UserError: Not such a file, or trained keys that do not fit while `partial` is off.
    """
    state, status = read_backbone(path)
    return load_state(encoder, state, status, partial=partial, adapt_input=adapt_input)


def backbone_of(directory: Path | str) -> tuple[dict[str, Tensor], dict[str, Status]]:
    """Encoder weights of a pretrained model folder, and which of them pretraining used."""
    from safetensors import safe_open

    config = load_config(TrendConfig, directory, format_version=FORMAT_VERSION)
    path = Path(directory) / WEIGHTS
    if not path.is_file():
        raise UserError(f"no model in {directory}: {WEIGHTS} is missing")
    with safe_open(path, "pt") as stored:
        names = [name for name in stored.keys() if name.startswith(MODEL_PREFIX)]  # noqa: SIM118
        state = {name.removeprefix(MODEL_PREFIX): stored.get_tensor(name) for name in names}
    if not state:
        raise UserError(f"{path} holds no {MODEL_PREFIX}* weights; is it a pretrained model?")
    untrained: tuple[str, ...] = (UNUSED_LAYER,) if config.volume.source == "x_conv4" else ()
    if config.ablation.level == "scratch":
        untrained = ("",)
    status: dict[str, Status] = {
        key: "initial" if key.startswith(untrained) else "trained" for key in state
    }
    return state, status


def write_backbone(
    path: Path | str,
    state: Mapping[str, Tensor],
    status: Mapping[str, Status],
    *,
    kind: Literal["torch", "safetensors"] = "torch",
) -> None:
    """Write weights and their status, whole or not at all.

    Args:
        path: File.
        state: Weights by name, without prefix.
        status: Trained or initial by name.
        kind: torch (plain tensors, `weights_only=True`) or safetensors.
    """
    tensors = {PREFIX + key: value.detach().cpu().contiguous() for key, value in state.items()}
    marks = {PREFIX + key: value for key, value in status.items()}
    if kind == "safetensors":
        from safetensors.torch import save

        content = save(tensors, metadata={"format": "pt", "status": json.dumps(marks)})
    else:
        buffer = io.BytesIO()
        torch.save({"model_state": tensors, "status": marks}, buffer)
        content = buffer.getvalue()
    atomic_write(Path(path), content)


def read_backbone(path: Path | str) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights and status by name, without prefix; an empty status = all trained.

    Raises:
        UserError: No such file, not readable as plain tensors, or no `backbone_3d.` weights.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no weights file {path}; foretell lidar export writes one")
    try:
        tensors, marks = _read(path)
    except (pickle.UnpicklingError, RuntimeError, ValueError, KeyError, TypeError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"{path} is not a file of plain tensors under model_state ({first}); "
            "re-save its model_state alone"
        ) from None
    state = {k.removeprefix(PREFIX): v for k, v in tensors.items() if k.startswith(PREFIX)}
    if not state:
        raise UserError(f"{path} holds no {PREFIX}* weights, only {', '.join(list(tensors)[:3])}")
    return state, {key.removeprefix(PREFIX): value for key, value in marks.items()}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as stored:
                metadata = stored.metadata() or {}
                names = list(stored.keys())
                tensors = {name: stored.get_tensor(name) for name in names}
        except SafetensorError as error:
            raise ValueError(str(error)) from None
        return tensors, json.loads(metadata.get("status", "{}"))
    content = torch.load(path, map_location="cpu", weights_only=True)
    return dict(content["model_state"]), dict(content.get("status", {}))


def _target(
    kind: Literal["auto", "torch", "safetensors"], out: str
) -> tuple[Path, Literal["torch", "safetensors"]]:
    path = Path(out)
    endings: dict[str, Literal["torch", "safetensors"]] = {
        ".pt": "torch", ".pth": "torch", ".safetensors": "safetensors",
    }  # fmt: skip
    by_name = endings.get(path.suffix)
    if by_name is None:
        chosen = "torch" if kind == "auto" else kind
        return path / (
            "backbone_3d.pth" if chosen == "torch" else "backbone_3d.safetensors"
        ), chosen
    if kind not in ("auto", by_name):
        raise UserError(f"--out {out} is a {by_name} file, but --format is {kind}; change one")
    return path, by_name


def _widen(weight: Tensor, in_channels: int) -> Tensor:
    if in_channels < weight.shape[4]:
        raise UserError(
            f"--in_channels {in_channels} is less than the {weight.shape[4]} input features the "
            "model was trained with; columns cannot be dropped"
        )
    return pad_input(weight, in_channels)


def _licences(model: Path) -> list[str]:
    """Licence of the training data, where the model says what it was."""
    from lidar.saved_model import PRETRAIN, trained_config

    if not (model / PRETRAIN).is_file():
        return []
    return [LICENCES[trained_config(model).data.kind]]
