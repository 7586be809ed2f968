"""Files of the M4 competition: a series a line, padded with empty cells.

`Hourly-train.csv`, `Hourly-test.csv` and their siblings; the frequency is in the name. Every series
has its own length; the test file holds the values that follow.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64

from foretell.errors import UserError, nearest

SEASON = {"hourly": 24, "daily": 1, "weekly": 1, "monthly": 12, "quarterly": 4, "yearly": 1}
"""m of MASE and of the seasonal naive forecast, as the competition sets them."""
HORIZON = {"hourly": 48, "daily": 14, "weekly": 13, "monthly": 18, "quarterly": 8, "yearly": 6}


@dataclass(frozen=True)
class M4Series:
    """One frequency of the competition."""

    frequency: str
    ids: tuple[str, ...]
    train: tuple[Float64[np.ndarray, " _"], ...]
    test: tuple[Float64[np.ndarray, " _"], ...]
    """The values that follow, as many as the horizon; empty where they were not read."""

    @property
    def season(self) -> int:
        """m."""
        return SEASON[self.frequency]

    @property
    def horizon(self) -> int:
        """H."""
        return HORIZON[self.frequency]


def read_m4(
    train: str | Path, *, test: str | Path | None = None, frequency: str | None = None
) -> M4Series:
    """Read a training file and the test file of the same series.

    Args:
        train: Of every series a line.
        test: The values that follow; none = the file beside it, `-train` replaced by `-test`.
        frequency: A key of `SEASON`; none = the one in the training file's name.

    Raises:
        UserError: A missing file, a name without a frequency, other series in the test, values
            that are no numbers or missing inside a series.
    """
    path = _beside(Path(train)) if test is None else Path(test)
    seen = read_m4_train(train, frequency=frequency)
    ids, future = _read(path)
    if ids != seen.ids:
        other = next((a for a, b in zip(seen.ids, ids, strict=False) if a != b), None)
        raise UserError(
            f"{path} does not hold the series of {train}"
            + (f", first at {other}" if other else f": {len(ids)} instead of {len(seen.ids)}")
        )
    for name, values in zip(ids, future, strict=True):
        if len(values) != seen.horizon:
            raise UserError(f"{path}: series {name} has {len(values)} values, not {seen.horizon}")
    return replace(seen, test=future)


def read_m4_train(train: str | Path, *, frequency: str | None = None) -> M4Series:
    """The training file alone, without a look at what follows.

    Raises:
        UserError: As `read_m4`.
    """
    path = Path(train)
    kind = frequency or _frequency(path)
    if kind not in SEASON:
        hint = nearest(kind, SEASON)
        raise UserError(f"frequency {kind} is none of {', '.join(SEASON)}{hint}")
    ids, seen = _read(path)
    return M4Series(kind, ids, seen, ())


def _beside(train: Path) -> Path:
    test = train.with_name(train.name.replace("-train", "-test").replace("-Train", "-Test"))
    if test == train:
        raise UserError(
            f"{train} is not named as the competition does, such as Hourly-train.csv: name its "
            "test file too"
        )
    return test


def _frequency(path: Path) -> str:
    found = [name for name in SEASON if name in path.name.lower()]
    if not found:
        hint = nearest(path.stem.split("-")[0], SEASON)
        raise UserError(f"{path}: its name must hold one of {', '.join(SEASON)}{hint}")
    return found[0]


def _read(path: Path) -> tuple[tuple[str, ...], tuple[Float64[np.ndarray, " _"], ...]]:
    if not path.is_file():
        raise UserError(f"no file {path}")
    frame = pd.read_csv(path, dtype={0: str}, low_memory=False)
    if not len(frame):
        raise UserError(f"{path} has no series")
    ids = tuple(frame.iloc[:, 0])
    if len(set(ids)) < len(ids):
        raise UserError(f"{path}: {frame.iloc[:, 0][frame.iloc[:, 0].duplicated()].iloc[0]} twice")
    try:
        values = frame.iloc[:, 1:].to_numpy(dtype=np.float64)
    except ValueError as error:
        raise UserError(f"{path} holds a cell that is no number: {error}") from None
    length = np.isfinite(values).sum(1)
    for name, row, count in zip(ids, values, length, strict=True):
        if not count or not np.isfinite(row[:count]).all():
            raise UserError(f"{path}: series {name} has an empty cell before its last value")
    return ids, tuple(row[:count] for row, count in zip(values, length, strict=True))
