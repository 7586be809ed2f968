"""Frames of series from and to CSV and Parquet, wide ones made long."""

import io
from pathlib import Path
from typing import Literal

import pandas as pd

from forecasting.data.panel import NAMINGS, melt_wide
from forecasting.data.wide_files import STAMP_NAMES
from forecasting.forecaster_config import ForecasterConfig
from foretell.errors import UserError
from foretell.run import atomic_write


def read_frame(path: str, config: ForecasterConfig) -> pd.DataFrame:
    """A long frame, under the names of the file.

    A file is wide where its first column holds times (date, ds, timestamp, time or datetime) and
    no column names the series; it becomes `unique_id, ds, y`.

    Raises:
        UserError: No such file, a kind that is not read, text that is no table.
    """
    if not path:
        raise UserError("--data.path is missing: a CSV or Parquet file of series")
    file = Path(path)
    if not file.is_file():
        raise UserError(f"no file {file}: --data.path names a CSV or Parquet file of series")
    try:
        if file.suffix == ".parquet":
            frame = pd.read_parquet(file)
        elif file.suffix in (".csv", ".gz", ".txt"):
            frame = pd.read_csv(file, low_memory=False)
        else:
            raise UserError(f"{file} ends in {file.suffix}; .csv, .csv.gz and .parquet are read")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise UserError(f"{file} cannot be read as a table: {error}") from None
    frame.columns = [str(name) for name in frame.columns]
    ids = [config.id_col] if config.id_col else [naming[0] for naming in NAMINGS]
    time = config.time_col or str(frame.columns[0])
    wide = not any(name in frame.columns for name in ids) and time.lower() in STAMP_NAMES
    if not wide:
        return frame
    given = (config.id_col, config.time_col, config.target_col)
    series, when, target = (own or known for own, known in zip(given, NAMINGS[0], strict=True))
    return melt_wide(frame, time_col=time, naming=(series, when, target))


def write_frame(frame: pd.DataFrame, path: Path, kind: Literal["csv", "parquet"] = "csv") -> None:
    """Write whole or not at all."""
    if kind == "csv":
        atomic_write(path, frame.to_csv(index=False))
        return
    content = io.BytesIO()
    frame.to_parquet(content, index=False)
    atomic_write(path, content.getvalue())
