"""Configuration of forecast evaluation, torch-free."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class EvalConfig:
    """Forecast evaluation (TREND specification section 12)."""

    max_rays: int = 0
    """Rays scored per frame, drawn with a fixed seed; 0 = all."""
    min_range_m: float = 1.0
    """Nearest return scored."""
    max_range_m: float = 0.0
    """Farthest return scored; 0 = no limit."""
    horizons_s: list[float] = dataclasses.field(default_factory=list)
    """Horizons scored; empty = those trained. Further ones are marked extrapolated."""
    protocols: list[Literal["a_1s", "a_3s", "b"]] = dataclasses.field(default_factory=list)
    """Published protocols scored beside the config's own ranges."""
    recalibrate_bn: bool = True
    """Re-estimate batch-norm statistics on unmasked training sweeps first."""
    recalibrate_windows: int = 16
    """Training windows used for that."""
    raycast_bins_deg: list[float | list[float]] = dataclasses.field(
        default_factory=lambda: [0.2, 0.35, 0.5]
    )
    """Bins of the copy-last z-buffer; a pair is azimuth x elevation."""
    select_windows: int = 8
    """Training windows on which the copy-last variant is chosen."""
    interventions: bool = True
    """Also score zero_action, shuffled_action and no_time on the saved model."""
    chamfer: bool = True
    """Compute CD, NFCD and the L1 of 4D-Occ (nearest neighbours of whole clouds)."""
    chunk: int = 8192
    """Rays rendered at once."""
    max_windows: int = 0
    """Windows scored, evenly spaced; 0 = all."""

    def __post_init__(self) -> None:
        least = {
            "max_rays": 0, "max_windows": 0, "chunk": 1, "recalibrate_windows": 1,
            "select_windows": 1,
        }  # fmt: skip
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {getattr(self, name)}")
        if not 0 <= self.min_range_m < (self.max_range_m or math.inf):
            raise ValueError(
                "min_range_m must not be negative and below max_range_m (0 = no limit), got "
                f"{self.min_range_m:g} and {self.max_range_m:g}"
            )
        for bins in self.raycast_bins_deg:
            pair = bins if isinstance(bins, list) else [bins, bins]
            if len(pair) != 2 or min(pair) <= 0:
                raise ValueError(
                    "raycast_bins_deg needs positive numbers or pairs [azimuth, elevation], got "
                    f"{self.raycast_bins_deg}"
                )
        check_horizons("horizons_s", self.horizons_s)


def check_horizons(name: str, horizons_s: list[float]) -> None:
    """Raise ValueError unless the seconds are positive and ascending."""
    before = [0.0, *horizons_s]
    if any(later <= earlier for earlier, later in zip(before, horizons_s, strict=False)):
        raise ValueError(f"{name} must be positive and ascending, got {horizons_s}")
