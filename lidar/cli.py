"""Verbs of `foretell lidar`, by name."""

from foretell.verbs import Verb

VERBS = {
    "simulate": Verb(
        "drive through invented streets and write what a LiDAR sees",
        "lidar.simulate.config:SimulateConfig",
        "lidar.simulate.command:run",
    ),
    "prepare": Verb(
        "index a data set and say what was found and missing",
        "lidar.config:PrepareConfig",
        "lidar.prepare:run",
        seeded=False,
    ),
    "pretrain": Verb(
        "learn a 3D backbone by forecasting LiDAR sweeps",
        "lidar.config:PretrainConfig",
        "lidar.pretrain:run",
    ),
    "forecast": Verb(
        "score and draw what a pretrained model forecasts",
        "lidar.config:ForecastConfig",
        "lidar.forecast:run",
        "lidar.saved_model:forecast_defaults",
        seeded=False,
    ),
    "export": Verb(
        "write the pretrained 3D backbone as a file for detectors",
        "lidar.config:ExportConfig",
        "lidar.export:run",
        seeded=False,
    ),
    "view": Verb(
        "draw sweeps and boxes of a drive",
        "lidar.config:ViewConfig",
        "lidar.view:run",
        seeded=False,
    ),
    "study": Verb(
        "pretrain and score many variants and seeds, a CSV row each",
        "lidar.config:ForecastStudyConfig",
        "lidar.study:run",
    ),
}
