"""Long frames: both namings, any order, gaps, and every breach told with series and stamp."""

import numpy as np
import pandas as pd
import pytest

from forecasting.data.panel import melt_wide, read_panel, recognise
from foretell.errors import UserError


def _frame(**extra: object) -> pd.DataFrame:
    """Series a has hours 0 to 4, b hours 2 to 4."""
    hours = [0, 1, 2, 3, 4, 2, 3, 4]
    frame = pd.DataFrame({
        "unique_id": list("aaaaabbb"),
        "ds": pd.Timestamp("2024-03-01") + pd.to_timedelta(hours, unit="h"),
        "y": np.arange(8.0),
    })  # fmt: skip
    return frame.assign(**extra)


def _read(frame: pd.DataFrame, freq: str = "h", **options: object):
    fill = options.pop("fill", "none")
    return read_panel(frame, recognise(frame, **options), freq, fill=fill)


def test_packed_in_order_whatever_the_rows() -> None:
    shuffled = _frame().sample(frac=1, random_state=1)
    panel = _read(shuffled)
    assert panel.ids.tolist() == ["a", "b"] and panel.lengths.tolist() == [5, 3]
    assert panel.values.tolist() == list(range(8)) and panel.series(1).tolist() == [5, 6, 7]
    ahead = panel.future_stamps(2)
    assert ahead[:2].tolist() == ahead[2:].tolist()
    assert ahead[0] == pd.Timestamp("2024-03-01 05:00")


def test_times_ahead_of_series_that_end_apart() -> None:
    frame = _frame().iloc[:7]  # b ends an hour earlier
    hours = [stamp.hour for stamp in _read(frame).future_stamps(3)]
    assert hours == [5, 6, 7, 4, 5, 6]


def test_the_other_naming_and_own_names() -> None:
    renamed = _frame().rename(columns={"unique_id": "item_id", "ds": "timestamp", "y": "target"})
    assert _read(renamed).layout.columns == ("item_id", "timestamp", "target")
    own = _frame().rename(columns={"unique_id": "shop", "y": "sold"})
    panel = _read(own, id_col="shop", target_col="sold")
    assert panel.layout.columns == ("shop", "ds", "sold")


def test_time_zones_are_kept() -> None:
    frame = _frame()
    frame["ds"] = frame["ds"].dt.tz_localize("Europe/Berlin")
    panel = _read(frame)
    assert str(panel.future_stamps(1)[0]) == "2024-03-01 05:00:00+01:00"


def test_months() -> None:
    frame = pd.DataFrame({
        "unique_id": "a", "ds": pd.date_range("2024-01-01", periods=5, freq="MS"), "y": range(5),
    })  # fmt: skip
    panel = _read(frame, "MS")
    assert [stamp.month for stamp in panel.future_stamps(2)] == [6, 7]
    with pytest.raises(UserError, match="goes from 2024-01-01 00:00:00 to 2024-02-01"):
        _read(frame, "D")


def test_gaps_are_told_or_filled_forward() -> None:
    frame = _frame().drop(index=[1, 2])
    with pytest.raises(UserError, match="series a goes from .* lacks 2024-03-01 01:00"):
        _read(frame)
    panel = _read(frame, fill="ffill")
    assert panel.series(0).tolist() == [0, 0, 0, 3, 4] and panel.series(1).tolist() == [5, 6, 7]
    assert panel.stamps[1] == pd.Timestamp("2024-03-01 01:00")


def test_empty_cells_are_told_or_filled_forward_alone() -> None:
    frame = _frame()
    frame.loc[[2, 6], "y"] = np.nan
    with pytest.raises(UserError, match=r"series a has no finite y at .* 02:00:00 \(2 such"):
        _read(frame)
    assert _read(frame, fill="ffill").values.tolist() == [0, 1, 1, 3, 4, 5, 5, 7]
    frame.loc[5, "y"] = np.nan
    with pytest.raises(UserError, match="series b .* nothing is known before it"):
        _read(frame, fill="ffill")


def test_declared_columns() -> None:
    frame = _frame(size=[1.0] * 5 + [2.0] * 3, rain=np.arange(8.0) * 2, holiday=0.0)
    panel = _read(frame, static_cols=["size"], past_cols=["rain"], future_cols=["holiday"])
    assert panel.static.tolist() == [[1.0], [2.0]]
    assert panel.past[:, 0].tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert panel.future.shape == (8, 1)
    with pytest.raises(UserError, match="nobody declared column rain"):
        _read(frame, static_cols=["size"], future_cols=["holiday"])
    with pytest.raises(UserError, match="no column rian; did you mean 'rain'"):
        _read(frame, past_cols=["rian"])
    with pytest.raises(UserError, match="column rain is static, yet it changes in series a"):
        _read(frame, static_cols=["size", "rain"], future_cols=["holiday"])
    with pytest.raises(UserError, match="column rain has two roles"):
        _read(frame, static_cols=["size"], past_cols=["rain"], future_cols=["holiday", "rain"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: f.iloc[:0], "has no row"),
        (lambda f: f.rename(columns={"y": "z"}), "no column y; it has unique_id, ds, z"),
        (lambda f: pd.concat([f, f.iloc[[6]]]), "series b has two rows at 2024-03-01 03:00:00"),
        (lambda f: f.assign(y=["1"] * 7 + ["x"]), "series b has y = 'x' at .*04:00:00"),
        (lambda f: f.assign(y=[np.inf] + [0.0] * 7), "series a has no finite y at"),
        (lambda f: f.assign(ds=["soon"] * 8), "column ds does not hold times"),
        (lambda f: f.assign(ds=f.ds.where(f.index != 3)), "column ds is empty in row 3"),
        (lambda f: f.assign(unique_id=f.unique_id.where(f.index != 3)), "is empty in row 3"),
        (lambda f: f.assign(ds=f.ds + pd.to_timedelta((f.index == 7) * 7, unit="min")),
         "not on the frequency h"),
    ],
)  # fmt: skip
def test_breaches(change, told: str) -> None:
    with pytest.raises(UserError, match=told):
        _read(change(_frame()))


def test_unknown_frequency() -> None:
    with pytest.raises(UserError, match="freq 'hour' is no frequency; such are 15min, h, D"):
        _read(_frame(), "hour")


def test_wide_to_long() -> None:
    wide = pd.DataFrame({"date": pd.date_range("2024-01-01", periods=2), "a": [1, 2], "b": [3, 4]})
    long = melt_wide(wide)
    assert list(long.columns) == ["unique_id", "ds", "y"] and long.y.tolist() == [1, 2, 3, 4]
    with pytest.raises(UserError, match="no column time"):
        melt_wide(wide, time_col="time")


def test_ten_thousand_series_in_a_moment() -> None:
    frame = pd.DataFrame({
        "unique_id": np.repeat(np.arange(10_000), 50),
        "ds": np.tile(pd.date_range("2024-01-01", periods=50, freq="D"), 10_000),
        "y": np.arange(500_000.0),
    })  # fmt: skip
    panel = _read(frame, "D")
    assert len(panel) == 10_000 and (panel.lengths == 50).all()
