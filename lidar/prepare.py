"""`foretell lidar prepare`: write the index of a data set and say what was found and missing."""

import json
import logging

from foretell.config import RunOptions
from foretell.run import RunDirectory, atomic_write
from lidar.config import PrepareConfig
from lidar.data.index import IndexReport, prepare_index, report_dict

_LOG = logging.getLogger(__name__)


def run(config: PrepareConfig, options: RunOptions) -> None:
    """Read the source tables, write the index beside the data and a report into the run folder.

    Raises:
        UserError: The data set is missing or inconsistent, or the index cannot be written.
    """
    run_directory = RunDirectory.create("lidar-prepare", config, options)
    report = prepare_index(config.data, progress=_log_progress)
    content = json.dumps(report_dict(report), indent=2)
    atomic_write(run_directory.path / "report.json", content)
    for line in report_lines(report):
        _LOG.info("%s", line)


def report_lines(report: IndexReport) -> list[str]:
    """The report for a person."""
    sweeps = sum(log.sweeps for log in report.logs)
    keys = sum(log.key_frames for log in report.logs)
    minutes = sum(log.duration_s for log in report.logs) / 60
    boxes = sum(log.boxes for log in report.logs)
    splits = ", ".join(f"{name} {count}" for name, count in report.splits.items()) or "none"
    return [
        f"{len(report.logs)} logs, {sweeps} sweeps ({keys} key frames), {minutes:.1f} min, "
        f"{boxes} boxes",
        f"logs of each split: {splits}",
        *(f"missing: {line}" for line in report.skipped),
        f"index: {report.folder} ({report.bytes_written / 1e6:.1f} MB, {report.duration_s:.1f} s)",
    ]


def _log_progress(what: str, done: int, total: int) -> None:
    _LOG.debug("%s %d/%d", what, done, total)
