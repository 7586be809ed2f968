"""A fitted `Forecaster` in a folder: JSON and safetensors, whole or not at all.

`config.json` has the configuration, the series and the digest of the language model; `state` the
scales, calibration errors and last rows of the series; `models/<name>` the trained tensors. Nothing
of a language model is written.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from forecasting.build import build_of
from forecasting.config import Name
from forecasting.data.covariates import CovariateScale
from forecasting.data.panel import Layout, Panel, read_freq
from forecasting.fitted import Fitted
from forecasting.forecaster_config import ForecasterConfig
from forecasting.intervals import Conformal
from forecasting.language_model import weights_digest
from forecasting.panel_data import SeriesScale
from foretell.config import from_dict, to_dict
from foretell.errors import UserError
from foretell.run import atomic_write

FORMAT_VERSION = 2
CONFIG, STATE, MODELS = "config.json", "state.safetensors", "models"


def write_forecaster(folder: Path, fitted: Fitted) -> None:
    """Write the tensors, then the file that says they are whole.

    Raises:
        UserError: An unwritable folder.
    """
    from safetensors.torch import save

    config, panel, scale = fitted.config, fitted.panel, fitted.scale
    kept = panel.keep(
        np.maximum(panel.starts[1:] - config.context, panel.starts[:-1]), panel.starts[1:]
    )
    state: dict[str, Any] = {
        "scale.mean": scale.mean, "scale.std": scale.std, "panel.starts": kept.starts,
        "panel.values": kept.values, "panel.stamps": kept.stamps.asi8, "panel.static": kept.static,
        "panel.past": kept.past, "panel.future": kept.future,
    }  # fmt: skip
    if fitted.columns is not None:
        state |= {"columns.mean": fitted.columns.mean, "columns.std": fitted.columns.std}
    for name, one in fitted.conformal.items():
        state[f"conformal.{name}.errors"] = one.errors
        if one.series is not None:
            state[f"conformal.{name}.series"] = one.series
    for name, model in fitted.models.items():
        tensors = {key: value.contiguous().clone() for key, value in model.state_dict().items()}
        if tensors:
            atomic_write(folder / MODELS / f"{name}.safetensors", save(tensors))
    packed = {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in state.items()}
    atomic_write(folder / STATE, save(packed))
    zone = kept.stamps.tz
    content = {
        "format_version": FORMAT_VERSION, "config": to_dict(config),
        "layout": asdict(kept.layout),
        "ids": kept.ids.tolist(), "time_zone": None if zone is None else str(zone),
        "backbone_sha256": _digest(config),
    }  # fmt: skip
    atomic_write(folder / CONFIG, json.dumps(content, indent=1) + "\n")


def read_forecaster(folder: Path, *, backbone: str | None = None) -> Fitted:
    """Read a folder.

    Raises:
        UserError: No forecaster there, a newer format, tensors that do not fit, another language
            model than it was trained with.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"no forecaster in {folder}: {CONFIG} is missing")
    try:
        content = json.loads(path.read_text())
        version = content["format_version"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    if version != FORMAT_VERSION:
        raise UserError(
            f"{folder} has format_version {version}, {FORMAT_VERSION} is read: use the foretell "
            "that wrote it, or train anew"
        )
    config = from_dict(ForecasterConfig, content["config"], place=str(path))
    if backbone is not None:
        s2ip = config.networks.s2ip
        moved = replace(s2ip, backbone=replace(s2ip.backbone, model=backbone))
        config = replace(config, networks=replace(config.networks, s2ip=moved))
    if content["backbone_sha256"] != (now := _digest(config)):
        raise UserError(
            f"the language model at {config.networks.s2ip.backbone.model} has sha256 {now}, "
            f"{folder} was trained with {content['backbone_sha256']}: give backbone its folder"
        )
    state = _tensors(folder / STATE)
    panel = _panel(content, state, config)
    models: dict[Name, nn.Module] = {}
    conformal: dict[Name, Conformal] = {}
    for name in config.models:
        models[name] = _model(folder, name, config, panel.layout)
        owner = state.get(f"conformal.{name}.series")
        conformal[name] = Conformal(
            state[f"conformal.{name}.errors"].numpy(), None if owner is None else owner.numpy()
        )
    scale = SeriesScale(state["scale.mean"].numpy(), state["scale.std"].numpy())
    columns = None
    if "columns.mean" in state:
        columns = CovariateScale(state["columns.mean"].numpy(), state["columns.std"].numpy())
    return Fitted(config, models, conformal, panel, scale, columns, None)


def _model(folder: Path, name: Name, config: ForecasterConfig, layout: Layout) -> nn.Module:
    model = build_of(name, config, layout)
    path = folder / MODELS / f"{name}.safetensors"
    if model.state_dict():
        try:
            model.load_state_dict(_tensors(path))
        except RuntimeError as error:
            raise UserError(f"{path} does not fit {name}: {error}") from None
    return model.eval()


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not path.is_file():
        raise UserError(f"{path} is missing")
    try:
        return load(path.read_bytes())
    except SafetensorError as error:
        raise UserError(f"{path} is damaged: {error}") from None


def _panel(content: Mapping[str, Any], state: Mapping[str, Tensor], config: Any) -> Panel:
    stamps = pd.DatetimeIndex(state["panel.stamps"].numpy().astype("datetime64[ns]"))
    if content["time_zone"] is not None:
        stamps = stamps.tz_localize("UTC").tz_convert(content["time_zone"])
    names: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in content["layout"].items()
    }
    arrays = {
        key: state[f"panel.{key}"].numpy()
        for key in ("starts", "values", "static", "past", "future")
    }
    return Panel(
        Layout(**names), read_freq(config.freq), np.asarray(content["ids"]), stamps=stamps, **arrays
    )


def _digest(config: ForecasterConfig) -> str | None:
    """Of the language model, where one is used."""
    return weights_digest(config.networks.s2ip.backbone.model) if "s2ip" in config.models else None
