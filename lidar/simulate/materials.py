"""What surfaces send back: intensity = clip(255 rho cos(incidence)^k f(range), 0, 255).

f(range) = 1 / (1 + (range / 50 m)^2). Retro-reflectors have rho so large that they saturate.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int
from numpy import ndarray

HALF_INTENSITY_RANGE_M = 50.0


@dataclass(frozen=True)
class Material:
    """Reflectance `rho` at normal incidence and exponent `k` of its fall with the angle."""

    rho: float
    k: float


MATERIALS: dict[str, Material] = {
    "asphalt": Material(0.07, 0.3),
    "pavement": Material(0.16, 0.4),
    "grass": Material(0.28, 0.3),
    "road_paint": Material(0.60, 0.3),
    "brick": Material(0.22, 0.8),
    "concrete": Material(0.32, 0.8),
    "plaster": Material(0.48, 0.8),
    "glass": Material(0.03, 3.0),
    "foliage": Material(0.38, 0.5),
    "bark": Material(0.18, 0.7),
    "steel": Material(0.30, 1.6),
    "paint_dark": Material(0.06, 1.2),
    "paint_mid": Material(0.25, 1.2),
    "paint_light": Material(0.55, 1.2),
    "rubber": Material(0.04, 0.6),
    "cloth_dark": Material(0.10, 0.6),
    "cloth_light": Material(0.45, 0.6),
    "skin": Material(0.40, 0.6),
    "plastic_orange": Material(0.50, 0.9),
    "machine_yellow": Material(0.45, 1.0),
    "retro": Material(30.0, 0.2),
}

_NAMES = tuple(MATERIALS)
_RHO = np.array([MATERIALS[name].rho for name in _NAMES], np.float32)
_K = np.array([MATERIALS[name].k for name in _NAMES], np.float32)


def material_id(name: str) -> int:
    """Position of a material in `MATERIALS`."""
    return _NAMES.index(name)


def reflectance(material: Int[ndarray, " points"]) -> Float32[ndarray, " points"]:
    """rho of each material id."""
    return np.asarray(_RHO[material])


def intensity(
    material: Int[ndarray, " points"],
    cos_incidence: Float32[ndarray, " points"],
    range_m: Float32[ndarray, " points"],
) -> Float32[ndarray, " points"]:
    """Integer-valued intensity 0..255 of returns.

    >>> intensity(np.array([material_id("retro")]), np.ones(1, np.float32),
    ...           np.full(1, 40, np.float32))
    array([255.], dtype=float32)
    """
    falloff = 1.0 / (1.0 + (range_m / HALF_INTENSITY_RANGE_M) ** 2)
    signal = 255.0 * _RHO[material] * cos_incidence ** _K[material] * falloff
    return np.asarray(np.rint(np.clip(signal, 0.0, 255.0)), np.float32)
