"""Verbs of `foretell lidar`, by name."""

from foretell.verbs import Verb

VERBS = {
    "pretrain": Verb(
        "learn a 3D backbone by forecasting LiDAR sweeps",
        "lidar.config:PretrainConfig",
        "lidar.pretrain:run",
    ),
    "simulate": Verb(
        "drive through invented streets and write what a LiDAR sees",
        "lidar.simulate.config:SimulateConfig",
        "lidar.simulate.command:run",
    ),
    "forecast": Verb(
        "score and draw what a pretrained model forecasts",
        "lidar.config:ForecastConfig",
        "lidar.forecast:run",
    ),
}
