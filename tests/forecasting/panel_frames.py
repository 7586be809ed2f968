"""Long frames of waves, with and without further columns."""

import numpy as np
import pandas as pd


def waves(rows: tuple[int, ...] = (200, 150, 180), seed: int = 0) -> pd.DataFrame:
    """Waves of period 12 of different size and level, of unequal length and start."""
    random, parts = np.random.default_rng(seed), []
    for place, count in enumerate(rows):
        t = np.arange(count)
        y = 10.0**place * (3 + np.sin(2 * np.pi * t / 12) + 0.1 * random.normal(size=count))
        start = pd.Timestamp("2024-01-01") + pd.Timedelta(hours=place)
        stamps = pd.date_range(start, periods=count, freq="h")
        parts.append(pd.DataFrame({"unique_id": f"s{place}", "ds": stamps, "y": y}))
    return pd.concat(parts, ignore_index=True)


def with_columns(frame: pd.DataFrame, seed: int = 1) -> pd.DataFrame:
    """A holiday at random that lifts the target by half its mean, a past column, a size."""
    random = np.random.default_rng(seed)
    mean = frame.groupby("unique_id").y.transform("mean")
    holiday = (random.random(len(frame)) < 0.2).astype(float)
    return frame.assign(
        y=frame.y + 0.5 * mean * holiday, holiday=holiday, visits=random.normal(size=len(frame)),
        size=mean.round(),
    )  # fmt: skip


def next_rows(frame: pd.DataFrame, steps: int) -> pd.DataFrame:
    """The holidays of the steps that follow each series, every third one."""
    parts = []
    for series, own in frame.groupby("unique_id"):
        stamps = pd.date_range(own.ds.max(), periods=steps + 1, freq="h")[1:]
        days = (np.arange(steps) % 3 == 0).astype(float)
        parts.append(pd.DataFrame({"unique_id": series, "ds": stamps, "holiday": days}))
    return pd.concat(parts, ignore_index=True)
