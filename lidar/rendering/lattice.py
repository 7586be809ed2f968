"""Where the cells of a feature volume sit in space."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Lattice:
    """Affine map from metres to fractional cell numbers, index = (p - origin_m) * cells_per_m."""

    origin_m: tuple[float, float, float]
    """Position x y z of cell 0."""
    cells_per_m: tuple[float, float, float]
    """Cells per metre along x y z; 0 along an axis of one aligned cell."""
    shape_dhw: tuple[int, int, int]
    """Cells along z, y, x."""

    @classmethod
    def build(
        cls,
        grid: Literal["receptive_field", "cell", "corners"],
        point_range: Sequence[float],
        *,
        centre_m: Sequence[float],
        step_m: Sequence[float],
        shape_dhw: tuple[int, int, int],
    ) -> "Lattice":
        """Place the cells of a strided encoder volume (TREND specification section 2).

        Args:
            grid: receptive_field = the exact centres `centre_m + i step_m`; cell = the middle of
                the i-th block of voxels, (i + 1/2) step_m from the lower face; corners = first and
                last cell on the faces of the range (align_corners, as UniPAD's code).
            point_range: Volume box in metres.
            centre_m: Receptive-field centre of cell 0, x y z.
            step_m: Distance between cells, x y z.
            shape_dhw: Cells along z, y, x.
        """
        low = [float(v) for v in point_range[:3]]
        high = [float(v) for v in point_range[3:]]
        step = [float(v) for v in step_m]
        counts = shape_dhw[::-1]
        match grid:
            case "receptive_field":
                origin = [float(v) for v in centre_m]
                scale = [1 / s for s in step]
            case "cell":
                origin = [a + s / 2 for a, s in zip(low, step, strict=True)]
                scale = [1 / s for s in step]
            case "corners":
                origin = low
                scale = [(n - 1) / (b - a) for n, a, b in zip(counts, low, high, strict=True)]
        return cls((origin[0], origin[1], origin[2]), (scale[0], scale[1], scale[2]), shape_dhw)

    def index(self, points_m: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
        """Fractional cell numbers x y z of points in metres."""
        origin = points_m.new_tensor(self.origin_m)
        return (points_m - origin) * points_m.new_tensor(self.cells_per_m)
