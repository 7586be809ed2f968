"""`foretell forecast predict`: the steps that follow every series, with intervals and pictures."""

import logging

from forecasting.figures import draw_forecasts
from forecasting.forecaster import Forecaster
from forecasting.forecaster_config import PredictConfig
from forecasting.frame_files import read_frame, write_frame
from foretell.config import RunOptions
from foretell.errors import UserError
from foretell.run import RunDirectory

_log = logging.getLogger(__name__)


def run(config: PredictConfig, options: RunOptions) -> None:
    """Write forecast.csv (or .parquet) and figures/forecasts.png.

    Raises:
        UserError: No model, broken data, too few calibration windows for a level.
    """
    if not config.model:
        raise UserError("--model is missing: the folder of a saved forecaster, such as RUN/model")
    fitted = Forecaster.load(config.model, backbone=config.backbone or None)
    frame = read_frame(config.data.path, fitted.config) if config.data.path else None
    future = read_frame(config.future.path, fitted.config) if config.future.path else None
    found = fitted.predict(
        frame, future_df=future, horizon=config.horizon, level=config.level,
        quantiles=config.quantiles,
    )  # fmt: skip
    folder = RunDirectory.create("forecast-predict", config, options)
    path = folder.path / f"forecast.{config.format}"
    write_frame(found, path, config.format)
    past = fitted.history(frame)
    layout = fitted.layout(frame)
    draw_forecasts(
        folder.figures / "forecasts.png", past, found, layout, list(fitted.models), config.level,
        most=config.series,
    )  # fmt: skip
    _log.info("%d rows in %s; the first:\n%s", len(found), path, found.head(5).to_string())
