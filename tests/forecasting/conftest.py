"""The paths to `tiny_models`, which several tests share, and to the benchmarks' `forecast_peer`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCH = HERE.parents[1] / "tools" / "bench"
sys.path += [str(folder) for folder in (HERE, BENCH) if str(folder) not in sys.path]
