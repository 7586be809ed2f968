"""Series head: long- and short-term forecasting of time series, and next-slot accident risk.

Series go in, forecasts with their baselines come out. The head shares its sequence-mixer blocks
and the runtime with the other heads through `foretell` and imports none of them.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forecasting.baselines.ridge import Ridge
    from forecasting.config import BenchmarkConfig
    from forecasting.data.m4 import read_m4
    from forecasting.data.wide_files import read_wide
    from forecasting.data_config import DataConfig
    from forecasting.decomposition import decompose
    from forecasting.forecaster import Forecaster
    from forecasting.forecaster_config import ForecasterConfig
    from forecasting.linear import DLinear, NLinear
    from forecasting.m4_config import M4Config
    from forecasting.mixers import MixerForecaster
    from forecasting.patchtst import PatchTST
    from forecasting.s2ip import S2IP
    from forecasting.s2ip_config import S2ipConfig

__all__ = [
    "BenchmarkConfig",
    "DLinear",
    "DataConfig",
    "Forecaster",
    "ForecasterConfig",
    "M4Config",
    "MixerForecaster",
    "NLinear",
    "PatchTST",
    "Ridge",
    "S2IP",
    "S2ipConfig",
    "decompose",
    "read_m4",
    "read_wide",
]

_HOME = {
    "BenchmarkConfig": "forecasting.config",
    "DLinear": "forecasting.linear",
    "DataConfig": "forecasting.data_config",
    "Forecaster": "forecasting.forecaster",
    "ForecasterConfig": "forecasting.forecaster_config",
    "M4Config": "forecasting.m4_config",
    "MixerForecaster": "forecasting.mixers",
    "NLinear": "forecasting.linear",
    "PatchTST": "forecasting.patchtst",
    "Ridge": "forecasting.baselines.ridge",
    "S2IP": "forecasting.s2ip",
    "S2ipConfig": "forecasting.s2ip_config",
    "decompose": "forecasting.decomposition",
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
