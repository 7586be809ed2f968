"""`foretell forecast explain`: a saved forecaster's anchors as a table and pictures."""

import logging

import numpy as np
import pandas as pd
import torch

from forecasting.anchor_figures import draw_clouds, draw_cosines, draw_parts, draw_retrieved
from forecasting.explain import (
    CosineTrack,
    cosine_track,
    explain,
    explained_network,
    last_contexts,
    point_clouds,
    word_table,
)
from forecasting.forecaster import Forecaster
from forecasting.forecaster_config import ExplainConfig
from forecasting.frame_files import read_frame, write_frame
from foretell.config import RunOptions
from foretell.errors import UserError
from foretell.run import RunDirectory

_log = logging.getLogger(__name__)

TRACK_WORDS = 3
"""Words of an anchor beside the heat map."""


def run(config: ExplainConfig, options: RunOptions) -> None:
    """Write explain.csv and figures: anchors, cosines, embeddings, and parts where asked for.

    Raises:
        UserError: No model, none with anchors, no parts to draw, broken or too short series.
    """
    if not config.model:
        raise UserError("--model is missing: the folder of a saved forecaster, such as RUN/model")
    fitted = Forecaster.load(config.model, backbone=config.backbone or None)
    df = read_frame(config.data.path, fitted.config) if config.data.path else None
    if config.parts and (head := explained_network(fitted).config.head) != "components":
        raise UserError(
            f"--parts: head {head} does not tell the parts of a forecast apart; train with "
            "--networks.s2ip.head components"
        )
    table = explain(fitted, df, words=config.words)
    track = cosine_track(fitted, df, series=config.track, stride=config.stride)
    folder = RunDirectory.create("forecast-explain", config, options)
    write_frame(table, folder.path / "explain.csv")
    draw_retrieved(folder.figures / "anchors.png", table, most=config.series)
    draw_clouds(folder.figures / "embeddings.png", point_clouds(fitted, df))
    _draw_track(fitted, track, config, folder)
    if config.parts:
        _draw_parts(fitted, df, config, folder)
    _log.info("%d rows in %s; the first:\n%s", len(table), folder.path / "explain.csv",
              table.head(5).to_string(index=False))  # fmt: skip


def _draw_track(
    fitted: Forecaster, track: CosineTrack, config: ExplainConfig, folder: RunDirectory
) -> None:
    if len(track.ends) < 2:
        _log.info("no figures/cosines.png: %s has one window here; give --data.path", track.series)
        return
    texts = word_table(fitted, track.anchors, min(config.words, TRACK_WORDS))["words_centred"]
    labels = [
        f"{number}: {text}" for number, text in zip(track.anchors.tolist(), texts, strict=True)
    ]
    draw_cosines(folder.figures / "cosines.png", track, labels)


def _draw_parts(
    fitted: Forecaster, df: pd.DataFrame | None, config: ExplainConfig, folder: RunDirectory
) -> None:
    assert fitted.fitted is not None
    panel, contexts = last_contexts(fitted, df)
    scale = fitted.fitted.scale if df is None else fitted.fitted.scale_of(panel)
    shown = contexts[: config.series]
    std, mean = scale.std[: len(shown), None], scale.mean[: len(shown), None]
    parts = explained_network(fitted).forecast_parts(shown)[..., 0].double().numpy()
    own = parts * std[:, None] + np.array([1.0, 0.0, 0.0])[:, None] * mean[:, None]
    past = shown[..., 0].to(torch.float64).numpy() * std + mean
    names = [str(name) for name in panel.ids[: len(shown)]]
    draw_parts(folder.figures / "parts.png", past, own, names)
