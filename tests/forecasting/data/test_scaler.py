"""Standardisation sees its rows alone."""

import logging

import numpy as np
import pytest

from forecasting.data.scaler import ColumnScaler
from forecasting.data.series_table import SeriesTable
from forecasting.data_config import DataConfig
from forecasting.series_data import prepare


def test_mean_and_population_deviation() -> None:
    values = np.array([[1.0, 5.0], [3.0, 5.0], [100.0, 9.0]])
    scaler = ColumnScaler.fit(values, range(2))
    assert scaler.mean.tolist() == [2.0, 5.0] and scaler.std.tolist() == [1.0, 1.0]
    assert scaler.scale(values)[:, 0].tolist() == [-1.0, 1.0, 98.0]
    np.testing.assert_allclose(scaler.unscale(scaler.scale(values)), values)
    with pytest.raises(ValueError, match="at least one row"):
        ColumnScaler.fit(values, range(0))


def test_constant_column_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="forecasting"):
        ColumnScaler.fit(np.ones((4, 2)), range(4), ("a", "b"))
    assert "constant in the training rows, not scaled: a, b" in caplog.text


def test_rows_behind_training_change_nothing() -> None:
    """A signal planted in validation and test reaches neither the scaler nor what it scales."""
    values = np.random.default_rng(0).normal(size=(100, 3))
    planted = values.copy()
    planted[70:] += 1e6
    stamps = np.arange(100).astype("datetime64[h]").astype("datetime64[ns]")
    names = ("a", "b", "c")
    clean, dirty = (
        prepare(SeriesTable("t", rows, names, stamps), DataConfig(), 10)
        for rows in (values, planted)
    )
    assert (clean.scaler.mean == dirty.scaler.mean).all()
    assert (clean.scaler.std == dirty.scaler.std).all()
    assert (clean.scaled[:70] == dirty.scaled[:70]).all()


def test_few_shot_scaler_sees_the_kept_rows_unless_told() -> None:
    values = np.arange(100.0)[:, None]
    stamps = np.arange(100).astype("datetime64[h]").astype("datetime64[ns]")
    table = SeriesTable("t", values, ("a",), stamps)
    kept = prepare(table, DataConfig(percent=50.0), 10)
    assert kept.split.train == range(40) and kept.scaler.mean[0] == np.arange(40).mean()
    whole = prepare(table, DataConfig(percent=50.0, scaler_rows="all"), 10)
    assert whole.scaler.mean[0] == np.arange(70).mean()
