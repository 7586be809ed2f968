"""`foretell lidar prepare`."""

import json
import logging

import numpy as np

from foretell.config import RunOptions
from lidar.config import DataConfig, PrepareConfig
from lidar.data.folder_writer import write_log
from lidar.data.index import open_index
from lidar.prepare import run


def test_prepare_writes_the_index_and_a_report(tmp_path, caplog):
    write_log(
        tmp_path / "data" / "drive",
        [np.ones((4, 4), np.float32)] * 3,
        times_s=np.arange(3) / 10,
        global_SE3_ego=np.tile(np.eye(4), (3, 1, 1)),
    )
    config = PrepareConfig(DataConfig(kind="folder", root=str(tmp_path / "data")))
    with caplog.at_level(logging.INFO, "lidar"):
        run(config, RunOptions(out=str(tmp_path / "out")))
    assert "1 logs, 3 sweeps (3 key frames)" in caplog.text
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["logs"][0]["name"] == "drive"
    assert len(open_index(config.data).log("drive")) == 3
