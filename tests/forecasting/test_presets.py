"""Shipped presets are those of the table, and fit the benchmark."""

import importlib.util
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from forecasting.config import BenchmarkConfig
from forecasting.m4_config import M4Config
from foretell.config import from_dict
from foretell.presets import fitting_presets, read_config

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("presets", ROOT / "tools/make_series_presets.py")
assert spec is not None and spec.loader is not None
table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)


def test_files_are_up_to_date() -> None:
    """python tools/make_series_presets.py"""
    wanted = {name: content for name, content, _ in table.presets()}
    folder = ROOT / "configs" / "forecasting"
    assert {path.stem for path in folder.glob("*.yaml")} == set(wanted)
    for name, content in wanted.items():
        assert yaml.safe_load((folder / f"{name}.yaml").read_text()) == content


@pytest.mark.parametrize("name", ["s2ip_ETTh1_96", "s2ip_ETTm1_720", "s2ip_traffic_192"])
def test_presets_fit_the_benchmark(name: str) -> None:
    content, _ = read_config(name, "forecast")
    config = from_dict(BenchmarkConfig, content)
    assert config.models == ["last", "ridge", "s2ip"] and config.context == 512
    assert name in fitting_presets(
        "forecast", ["models", "context", "horizons", "networks", "fits"]
    )


@pytest.mark.parametrize("name", ["s2ip_m4_hourly", "s2ip_m4_yearly"])
def test_presets_of_m4_fit_its_verb_alone(name: str) -> None:
    config = from_dict(M4Config, read_config(name, "forecast")[0])
    s2ip, fit = config.networks.s2ip, config.fits.s2ip
    assert (s2ip.patch_length, s2ip.stride, config.scaling, config.context) == (1, 1, "none", None)
    assert fit.lr == pytest.approx(1e-3 / 25) and f"s2ip_m4_{config.data.frequency}" == name
    benchmark = [field.name for field in fields(BenchmarkConfig)]
    assert name not in fitting_presets("forecast", benchmark)
    assert name in fitting_presets("forecast", [field.name for field in fields(M4Config)])


def test_published_rows() -> None:
    found = from_dict(BenchmarkConfig, read_config("s2ip_ETTh1_720", "forecast")[0])
    s2ip, fit = found.networks.s2ip, found.fits.s2ip
    assert (s2ip.trend_window, s2ip.season, s2ip.retrieved, s2ip.align_weight) == (192, 48, 4, 0.01)
    assert (fit.lr, fit.batch, fit.decay, fit.max_epochs) == (1e-3, 128, 0.9, 100)
