"""What the forecast figures draw: the rays of one future sweep and what each `who` answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray


@dataclass(frozen=True)
class ForecastFrame:
    """One horizon of one forecasting window, in the t0 sensor frame."""

    horizon_s: float
    """Seconds after t0."""
    t0_SE3_tn: Float[ndarray, "4 4"]
    """Sensor pose at t_n in the t0 frame: where the ego marker stands and points."""
    origin: Float[ndarray, "3"]
    """Common origin of the rays in metres."""
    direction: Float[ndarray, "rays 3"]
    """Unit ray directions."""
    true_m: Float[ndarray, " rays"]
    """Measured ranges in metres."""
    predicted_m: Mapping[str, ndarray]
    """Who (such as `trend`, `copy_last`) -> [rays] ranges in metres; NaN = no answer."""

    def __post_init__(self) -> None:
        rays = self.true_m.shape
        for who, range_m in self.predicted_m.items():
            if range_m.shape != rays:
                raise ValueError(f"predicted_m[{who!r}] must be {rays}, got {range_m.shape}")

    def range_m(self, who: str | None) -> Float[ndarray, " rays"]:
        """Ranges that `who` answered; none = the measured ones."""
        if who is None:
            return self.true_m
        if who not in self.predicted_m:
            known = ", ".join(self.predicted_m) or "nobody"
            raise ValueError(f"no forecast by {who!r} in this frame: it has {known}")
        return self.predicted_m[who]

    def points(self, who: str | None = None) -> Float[ndarray, "rays 3"]:
        """p = o + r d, metres in the t0 frame; NaN rows where there is no answer."""
        return np.asarray(self.origin + self.range_m(who)[:, None] * self.direction, np.float64)

    def error_m(self, who: str) -> Float[ndarray, " rays"]:
        """Signed range error, prediction minus truth: positive = too far."""
        return np.asarray(self.range_m(who) - self.true_m, np.float64)

    def score(self, who: str) -> str:
        """`L1 0.42 m`, with the share of rays that have no answer where there are any."""
        error = self.error_m(who)
        answered = np.isfinite(error)
        if not answered.any():
            return "no answer"
        text = f"L1 {np.abs(error[answered]).mean():.2f} m"
        missing_pct = 100.0 * float(1.0 - answered.mean())
        return text if answered.all() else f"{text}, {missing_pct:.2g} % unanswered"


def check_frames(frames: Sequence[ForecastFrame], figure: str) -> None:
    """Refuse to draw nothing: a figure needs frames, and each frame a ray."""
    if not frames:
        raise ValueError(f"{figure}: there is no frame to draw")
    for index, frame in enumerate(frames):
        if not np.isfinite(frame.true_m).any():
            raise ValueError(
                f"{figure}: frame {index} ({frame.horizon_s:g} s) has no measured range"
            )
