"""Writes configs/forecasting/*.yaml from the table below: python tools/make_series_presets.py

`s2ip_<data>_<horizon>` has the hyper-parameters of the released scripts of S2IP-LLM (2403.05798),
with GPT-2's first six blocks, for `foretell forecast benchmark`, `s2ip_m4_<frequency>` for
`foretell forecast m4`; a test compares the files with the table.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

FOLDER = Path(__file__).resolve().parents[1] / "configs" / "forecasting"
HORIZONS = (96, 192, 336, 720)
CONTEXT, EPOCHS, PATIENCE, DECAY = 512, 100, 3, 0.9


class Published(NamedTuple):
    """A row: learning rate, K, batch, lambda, W, M, V'."""

    lr: float
    retrieved: int
    batch: int
    align_weight: float
    trend_window: int
    season: int
    anchors: int = 1000


def _ettm1(retrieved: int, trend_window: int) -> Published:
    return Published(1e-4, retrieved, 128, 0.05, trend_window, 96, 5000)


PUBLISHED: Mapping[str, tuple[Published, ...]] = {
    "ETTh1": (
        Published(1e-4, 4, 128, 0.05, 96, 96), Published(1e-4, 4, 128, 0.05, 96, 96),
        Published(1e-4, 8, 128, 0.01, 24, 24), Published(1e-3, 4, 128, 0.01, 192, 48),
    ),
    "ETTh2": (
        Published(1e-4, 16, 128, 0.05, 96, 96), Published(1e-4, 4, 128, 0.05, 96, 12),
        Published(1e-4, 8, 128, 0.05, 96, 12), Published(1e-4, 2, 128, 0.01, 24, 24),
    ),
    "ETTm1": (_ettm1(4, 144), _ettm1(4, 192), _ettm1(8, 192), _ettm1(8, 192)),
    "ETTm2": (
        Published(1e-4, 4, 128, 0.05, 24, 24), Published(1e-4, 8, 128, 0.05, 192, 48),
        Published(1e-4, 8, 128, 0.05, 192, 96), Published(1e-4, 8, 128, 0.05, 192, 96),
    ),
    "weather": (
        Published(1e-3, 2, 1024, 0.1, 96, 48), Published(1e-3, 2, 1024, 0.1, 96, 48),
        Published(1e-3, 4, 1024, 0.1, 96, 48), Published(1e-3, 4, 1024, 0.1, 96, 48),
    ),
    "electricity": (Published(1e-4, 4, 1024, 0.1, 24, 4),) * 4,
    "traffic": tuple(Published(1e-4, 2, 32, 0.1, 24, season) for season in (4, 12, 4, 12)),
}  # fmt: skip

M4 = {
    **dict.fromkeys(("hourly", "daily", "weekly", "monthly"), Published(1e-3, 4, 64, 0.1, 4, 2)),
    "quarterly": Published(1e-3, 2, 64, 0.1, 1, 1),
    "yearly": Published(1e-3, 2, 64, 0.01, 1, 1),
}
M4_EPOCHS, M4_RATE_SHARE = 50, 1 / 25
"""Their schedule is made and never stepped, so that the rate stays at its start, lr / 25."""


def presets() -> Iterator[tuple[str, dict[str, Any], str]]:
    """Name, values and the first line of every file."""
    for data, rows in PUBLISHED.items():
        for horizon, row in zip(HORIZONS, rows, strict=True):
            title = f"# S2IP-LLM on {data}, horizon {horizon}, as the released scripts run it."
            yield f"s2ip_{data}_{horizon}", values(row, horizon), title
    for frequency, row in M4.items():
        title = f"# S2IP-LLM on M4's {frequency} series, as the released scripts run it."
        yield f"s2ip_m4_{frequency}", m4_values(row, frequency), title


def values(row: Published, horizon: int) -> dict[str, Any]:
    """What the file says, with ridge and the last value beside the model."""
    return {
        "models": ["last", "ridge", "s2ip"],
        "context": CONTEXT,
        "horizons": [horizon],
        "networks": {"s2ip": network(row, patch_length=16, stride=8)},
        "fits": {
            "s2ip": {
                "lr": row.lr, "batch": row.batch, "max_epochs": EPOCHS, "patience": PATIENCE,
                "decay": DECAY,
            }
        },
    }  # fmt: skip


def m4_values(row: Published, frequency: str) -> dict[str, Any]:
    """The same for the verb of M4, beside the untrained forecasts."""
    return {
        "data": {"frequency": frequency},
        "models": ["seasonal_naive", "naive2", "s2ip"],
        "scaling": "none",
        "networks": {"s2ip": network(row, patch_length=1, stride=1)},
        "fits": {
            "s2ip": {
                "lr": row.lr * M4_RATE_SHARE, "batch": row.batch, "max_epochs": M4_EPOCHS,
                "patience": PATIENCE,
            }
        },
    }  # fmt: skip


def network(row: Published, *, patch_length: int, stride: int) -> dict[str, Any]:
    """The model's own keys."""
    return {
        "trend_window": row.trend_window, "season": row.season, "patch_length": patch_length,
        "stride": stride, "retrieved": row.retrieved, "align_weight": row.align_weight,
        "anchors": {"map": "table", "count": row.anchors},
        "backbone": {"kind": "pretrained", "model": "gpt2", "layers": 6},
    }  # fmt: skip


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, content, title in presets():
        text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=100)
        (FOLDER / f"{name}.yaml").write_text(f"{title}\n{text}")


if __name__ == "__main__":
    main()
