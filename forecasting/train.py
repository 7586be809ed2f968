"""`foretell forecast train`: fit models to a file of series and keep them."""

import logging
from collections.abc import Mapping
from dataclasses import fields, replace

from forecasting.config import Name
from forecasting.forecaster import Forecaster
from forecasting.forecaster_config import ForecasterConfig, TrainConfig
from forecasting.frame_files import read_frame
from foretell.config import RunOptions
from foretell.run import RunDirectory

_log = logging.getLogger(__name__)

BESIDE: tuple[Name, ...] = ("last", "seasonal_naive")
"""Stand beside every result."""
HELD_HORIZONS = 10
"""Held-out rows where none are asked for, in horizons."""


def run(config: TrainConfig, options: RunOptions) -> None:
    """Fit, tell the errors on the held-out rows beside the untrained forecasts, save.

    Raises:
        UserError: Missing or broken data, series too short.
    """
    frame = read_frame(config.data.path, config)
    folder = RunDirectory.create("forecast-train", config, options)
    fitted = Forecaster(plain(config), seed=options.seed)
    fitted.fit(frame, val_size=held_rows(config))
    errors: dict[str, float] = {
        name: float(one.errors.mean()) for name, one in fitted.conformal.items() if one.errors.size
    }
    folder.write_metrics({f"val/{name}/mae_scaled": value for name, value in errors.items()})
    fitted.save(folder.model)
    if not errors:
        _log.warning("val_size leaves no window of the horizon to tell errors or calibrate by")
    _log.info("held-out mean absolute error, in deviations of each series\n%s", _lines(errors))
    _log.info("forecaster written to %s", folder.model)


def plain(config: TrainConfig) -> ForecasterConfig:
    """The forecaster of a verb's configuration, with the untrained models beside the others."""
    names = [field.name for field in fields(ForecasterConfig)]
    values = {name: getattr(config, name) for name in names}
    return with_untrained(ForecasterConfig(**values))


def with_untrained(config: ForecasterConfig) -> ForecasterConfig:
    """last, and where there is a season that the context holds seasonal_naive."""
    wanted = [name for name in BESIDE if name == "last" or 1 < config.season <= config.context]
    missing = [name for name in wanted if name not in config.models]
    return replace(config, models=[*config.models, *missing])


def held_rows(config: TrainConfig) -> int:
    """Of `val_size`, or ten horizons."""
    return config.val_size or HELD_HORIZONS * config.horizon


def _lines(errors: Mapping[str, float]) -> str:
    return "\n".join(f"  {name:<16} {value:.4f}" for name, value in errors.items())
