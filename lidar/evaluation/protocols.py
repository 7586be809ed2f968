"""Which frames, rays, crops and slices make up a forecasting score.

The published protocols are those of 4D-Occ (A) and ViDAR (B) on nuScenes val. Numbers of different
protocols, or of different numbers of input sweeps, never share a column.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from foretell.errors import UserError
from lidar.evaluation.forecast_metrics import BOX_4DOCC, Box

MEAN = "mean"
"""Slice that pools all horizons: the mean over all future frames."""


@dataclass(frozen=True)
class Protocol:
    """One way of scoring a forecast."""

    name: str
    """Part of the metric's key; empty = the config's own ranges."""
    title: str
    """For tables."""
    horizons_s: tuple[float, ...]
    """Horizons that count."""
    slices: Literal["both", "pooled", "per_horizon"]
    """Report every horizon, their pooled mean, or both."""
    metrics: tuple[Literal["rays", "rays_4docc", "cd", "nfcd"], ...]
    """Families of metrics reported."""
    nfcd_box: Box
    """Crop of `nfcd_m2`, t0 LiDAR frame."""
    cd_box: Box | None = None
    """Crop of `cd_m2`; none = whole clouds."""
    ego_box: tuple[float, float, float, float] | None = None
    """x_min x_max y_min y_max of returns left out, forward-left-up axes at the scored sensor."""

    def keeps(self, points_flu: Float[ndarray, "rays 3"]) -> Bool[ndarray, " rays"]:
        """Which returns (forward-left-up axes at their own sensor) the protocol scores."""
        if self.ego_box is None:
            return np.ones(len(points_flu), bool)
        x_min, x_max, y_min, y_max = self.ego_box
        x, y = points_flu[:, 0], points_flu[:, 1]
        return np.asarray(~((x >= x_min) & (x <= x_max) & (y >= y_min) & (y <= y_max)))

    def slices_of(self, horizon_s: float) -> tuple[str, ...]:
        """Names of the slices that a frame at this horizon counts in; none if not scored."""
        if not any(abs(horizon_s - scored) < 1e-6 for scored in self.horizons_s):
            return ()
        match self.slices:
            case "both":
                return horizon_label(horizon_s), MEAN
            case "pooled":
                return (MEAN,)
            case "per_horizon":
                return (horizon_label(horizon_s),)


def horizon_label(horizon_s: float) -> str:
    """Name of a horizon in metric keys.

    >>> horizon_label(0.5), horizon_label(1.0), horizon_label(0.25)
    ('0.5s', '1.0s', '0.25s')
    """
    return f"{round(horizon_s, 6)}s"


def config_protocol(
    horizons_s: Sequence[float],
    point_range: Sequence[float],
    *,
    chamfer: bool = True,
) -> Protocol:
    """The config's own ranges: every horizon and their mean, NFCD cropped to the model volume."""
    return Protocol(
        name="",
        title="config ranges",
        horizons_s=tuple(horizons_s),
        slices="both",
        metrics=("rays", "rays_4docc", "cd", "nfcd") if chamfer else ("rays",),
        nfcd_box=_box(point_range),
    )


def published_protocol(
    name: Literal["a_1s", "a_3s", "b"], horizons_s: Sequence[float], *, data_kind: str = "nuscenes"
) -> Protocol:
    """Protocol A (4D-Occ) or B (ViDAR).

    A's official preparation also negates x of Singapore logs. It is left out: it mirrors both
    clouds, and every metric here is unchanged by that. Limits of `eval` and the ray filter's own
    ego box act before the protocol's: the letter of A needs `eval.min_range_m: 0`.

    Args:
        name: `a_1s`, `a_3s` or `b`.
        horizons_s: Horizons of the scored windows; must contain the protocol's.
        data_kind: nuScenes runs at 2 Hz; other data sets take 4D-Occ's KITTI setting (5 in, 5 out,
            step 0.2 s or 0.6 s).

    Raises:
        UserError: The windows do not reach the protocol's horizons.
    """
    nuscenes = data_kind == "nuscenes"
    if name == "b":
        protocol = Protocol(
            name="b",
            title="B: ViDAR (CVPR 2024), 1 s or 3 s in, one mean per horizon",
            horizons_s=(0.5, 1.0, 1.5, 2.0, 2.5, 3.0),
            slices="per_horizon",
            metrics=("cd",),
            nfcd_box=(-51.2, -51.2, -5.0, 51.2, 51.2, 3.0),
            cd_box=(-51.2, -51.2, -5.0, 51.2, 51.2, 3.0),
        )
    else:
        step_s, num_frames = {
            ("a_1s", True): (0.5, 2),
            ("a_3s", True): (0.5, 6),
            ("a_1s", False): (0.2, 5),
            ("a_3s", False): (0.6, 5),
        }[name, nuscenes]
        protocol = Protocol(
            name=name,
            title=f"A: 4D-Occ (CVPR 2023), {name[2:]}, {num_frames} sweeps in, horizons pooled",
            horizons_s=tuple(round(step_s * n, 6) for n in range(1, num_frames + 1)),
            slices="pooled",
            metrics=("rays", "rays_4docc", "cd", "nfcd"),
            nfcd_box=BOX_4DOCC,
            # Printed for nuScenes axes (x right, y forward): x +-0.8, y -1.5..2.5.
            ego_box=(-1.5, 2.5, -0.8, 0.8) if nuscenes else None,
        )
    missing = [
        horizon
        for horizon in protocol.horizons_s
        if not any(abs(horizon - given) < 1e-6 for given in horizons_s)
    ]
    if missing:
        raise UserError(
            f"eval.protocols {name} needs the horizons {list(protocol.horizons_s)} s, the windows "
            f"lack {missing}: set eval.horizons_s to them or drop {name}"
        )
    return protocol


def _box(point_range: Sequence[float]) -> Box:
    x_min, y_min, z_min, x_max, y_max, z_max = (float(value) for value in point_range)
    return x_min, y_min, z_min, x_max, y_max, z_max
