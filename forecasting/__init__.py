"""Series head: long- and short-term forecasting of time series, and next-slot accident risk.

Series go in, forecasts with their baselines come out. The head shares its sequence-mixer blocks
and the runtime with the other heads through `foretell` and imports none of them.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forecasting.baselines.ridge import Ridge
    from forecasting.config import BenchmarkConfig, FitConfig, FitsConfig, NetworksConfig
    from forecasting.data.m4 import read_m4
    from forecasting.data.panel import melt_wide
    from forecasting.data.wide_files import read_wide
    from forecasting.data_config import DataConfig
    from forecasting.decomposition import decompose
    from forecasting.forecaster import Forecaster
    from forecasting.forecaster_config import ForecasterConfig
    from forecasting.linear import DLinear, NLinear
    from forecasting.m4_config import M4Config
    from forecasting.mixers import MixerForecaster
    from forecasting.model_config import (
        DLinearConfig,
        MixerForecasterConfig,
        PatchTstConfig,
        RidgeConfig,
    )
    from forecasting.patchtst import PatchTST
    from forecasting.quantiles import QuantileForecaster
    from forecasting.s2ip import S2IP
    from forecasting.s2ip_config import AnchorConfig, BackboneConfig, S2ipConfig
    from forecasting.stl import Stl

__all__ = [
    "AnchorConfig",
    "BackboneConfig",
    "BenchmarkConfig",
    "DLinear",
    "DLinearConfig",
    "DataConfig",
    "FitConfig",
    "FitsConfig",
    "Forecaster",
    "ForecasterConfig",
    "M4Config",
    "MixerForecaster",
    "MixerForecasterConfig",
    "NLinear",
    "NetworksConfig",
    "PatchTST",
    "PatchTstConfig",
    "QuantileForecaster",
    "Ridge",
    "RidgeConfig",
    "S2IP",
    "S2ipConfig",
    "Stl",
    "decompose",
    "melt_wide",
    "read_m4",
    "read_wide",
]

_HOME = {
    "AnchorConfig": "forecasting.s2ip_config",
    "BackboneConfig": "forecasting.s2ip_config",
    "BenchmarkConfig": "forecasting.config",
    "DLinear": "forecasting.linear",
    "DLinearConfig": "forecasting.model_config",
    "DataConfig": "forecasting.data_config",
    "FitConfig": "forecasting.config",
    "FitsConfig": "forecasting.config",
    "Forecaster": "forecasting.forecaster",
    "ForecasterConfig": "forecasting.forecaster_config",
    "M4Config": "forecasting.m4_config",
    "MixerForecaster": "forecasting.mixers",
    "MixerForecasterConfig": "forecasting.model_config",
    "NLinear": "forecasting.linear",
    "NetworksConfig": "forecasting.config",
    "PatchTST": "forecasting.patchtst",
    "PatchTstConfig": "forecasting.model_config",
    "QuantileForecaster": "forecasting.quantiles",
    "Ridge": "forecasting.baselines.ridge",
    "RidgeConfig": "forecasting.model_config",
    "S2IP": "forecasting.s2ip",
    "S2ipConfig": "forecasting.s2ip_config",
    "Stl": "forecasting.stl",
    "decompose": "forecasting.decomposition",
    "melt_wide": "forecasting.data.panel",
    "read_m4": "forecasting.data.m4",
    "read_wide": "forecasting.data.wide_files",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'forecasting' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
