"""Bodies of the ten classes: several primitives inside the box, so that shape tells the class.

A body's frame is its box: x forward along l, y left, z up from the bottom face, centred in x, y.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from lidar.simulate.mesh import Mesh, box, ellipsoid, frustum, merge, wedge, wheel

MEAN_SIZE_M: dict[str, tuple[float, float, float]] = {
    "car": (4.63, 1.97, 1.74),
    "truck": (6.93, 2.51, 2.84),
    "construction_vehicle": (6.37, 2.85, 3.19),
    "bus": (10.5, 2.94, 3.47),
    "trailer": (12.29, 2.90, 3.87),
    "barrier": (0.50, 2.53, 0.98),
    "motorcycle": (2.11, 0.77, 1.47),
    "bicycle": (1.70, 0.60, 1.28),
    "pedestrian": (0.73, 0.67, 1.77),
    "traffic_cone": (0.41, 0.41, 1.07),
}
"""Mean length, width, height: the anchors of OpenPCDet's nuScenes configurations."""

_SPREAD = 0.06


@dataclass(frozen=True)
class Body:
    """Size and mesh of one actor."""

    size_lwh: tuple[float, float, float]
    mesh: Mesh


def make_body(
    name: str,
    rng: Generator,
    *,
    rider: bool = True,
    sitting: bool = False,
    size: tuple[float, float, float] | None = None,
) -> Body:
    """A body of a class with its size drawn around the class mean (6 %, cut at two sigma).

    Args:
        name: One of the ten classes.
        rng: Draws size and materials.
        rider: Of motorcycles and bicycles.
        sitting: Of pedestrians; takes 30 % off the height.
        size: Length, width, height in metres; none = drawn.
    """
    factors = 1.0 + _SPREAD * np.clip(rng.normal(size=3), -2.0, 2.0)
    length, width, height = (float(m * f) for m, f in zip(MEAN_SIZE_M[name], factors, strict=True))
    if sitting:
        height *= 0.7
    if size is not None:
        length, width, height = size
    build: dict[str, Callable[[], list[Mesh]]] = {
        "car": lambda: _car(length, width, height, rng),
        "truck": lambda: _truck(length, width, height, rng),
        "construction_vehicle": lambda: _excavator(length, width, height),
        "bus": lambda: _bus(length, width, height, rng),
        "trailer": lambda: _trailer(length, width, height),
        "barrier": lambda: _barrier(length, width, height),
        "motorcycle": lambda: _two_wheeler(length, width, height, rng, rider, heavy=True),
        "bicycle": lambda: _two_wheeler(length, width, height, rng, rider, heavy=False),
        "pedestrian": lambda: _pedestrian(length, width, height, rng),
        "traffic_cone": lambda: _cone(length, width, height),
    }
    return Body((length, width, height), merge(build[name]()))


def _paint(rng: Generator) -> str:
    return str(rng.choice(["paint_dark", "paint_mid", "paint_light"]))


def _cloth(rng: Generator) -> str:
    return str(rng.choice(["cloth_dark", "cloth_light"]))


def _wheels(length: float, width: float, radius: float, at: list[float]) -> list[Mesh]:
    thick = 0.12 * width
    return [
        wheel((x * length, side * (width / 2 - thick / 2), radius), radius, thick)
        for x in at
        for side in (-1.0, 1.0)
    ]


def _lamps(length: float, width: float, z: float) -> list[Mesh]:
    """Tail reflectors, flush with the rear face."""
    rear = (-length / 2, -length / 2 + 0.03)
    return [
        box(rear, (y - 0.1, y + 0.1), (z, z + 0.08), "retro") for y in (-0.38 * width, 0.38 * width)
    ]


def _car(length: float, width: float, height: float, rng: Generator) -> list[Mesh]:
    paint, waist, half = _paint(rng), 0.55 * height, width / 2
    inset = 0.02  # the paintwork stands behind the reflectors
    return [
        box((-length / 2 + inset, length / 2), (-half, half), (0.18 * height, waist), paint),
        wedge(
            (-0.42 * length, 0.20 * length),
            (-0.30 * length, 0.05 * length),
            (0.94 * half, 0.74 * half),
            (waist, 0.97 * height),
            "glass",
        ),
        wedge(
            (-0.305 * length, 0.055 * length),
            (-0.29 * length, 0.04 * length),
            (0.76 * half, 0.74 * half),
            (0.96 * height, height),
            paint,
        ),
        *_wheels(length, width, 0.19 * height, [-0.31, 0.31]),
        *_lamps(length, width, 0.42 * height),
    ]


def _truck(length: float, width: float, height: float, rng: Generator) -> list[Mesh]:
    half, paint = width / 2, _paint(rng)
    return [
        box(
            (0.24 * length, length / 2),
            (-0.95 * half, 0.95 * half),
            (0.16 * height, 0.8 * height),
            paint,
        ),
        box(
            (0.495 * length, length / 2),
            (-0.8 * half, 0.8 * half),
            (0.5 * height, 0.75 * height),
            "glass",
        ),
        box((-length / 2 + 0.02, 0.22 * length), (-half, half), (0.32 * height, height), "steel"),
        box(
            (-0.48 * length, 0.4 * length),
            (-0.35 * half, 0.35 * half),
            (0.2 * height, 0.32 * height),
            "rubber",
        ),
        *_wheels(length, width, 0.16 * height, [-0.36, -0.22, 0.36]),
        *_lamps(length, width, 0.34 * height),
    ]


def _excavator(length: float, width: float, height: float) -> list[Mesh]:
    half = width / 2
    tracks = [
        box((-0.36 * length, 0.22 * length), (y0 * half, y1 * half), (0.0, 0.25 * height), "rubber")
        for y0, y1 in ((-1.0, -0.6), (0.6, 1.0))
    ]
    return [
        *tracks,
        box(
            (-0.5 * length, 0.1 * length),
            (-0.85 * half, 0.85 * half),
            (0.28 * height, 0.62 * height),
            "machine_yellow",
        ),
        box(
            (-0.15 * length, 0.1 * length),
            (0.1 * half, 0.85 * half),
            (0.62 * height, height),
            "glass",
        ),
        box(
            (0.1 * length, 0.46 * length),
            (-0.25 * half, 0.0),
            (0.7 * height, 0.82 * height),
            "machine_yellow",
        ),
        box(
            (0.40 * length, 0.47 * length),
            (-0.22 * half, 0.0),
            (0.2 * height, 0.75 * height),
            "machine_yellow",
        ),
        box(
            (0.36 * length, 0.5 * length), (-0.5 * half, 0.3 * half), (0.02, 0.22 * height), "steel"
        ),
    ]


def _bus(length: float, width: float, height: float, rng: Generator) -> list[Mesh]:
    half, paint = width / 2, _paint(rng)
    return [
        box((-length / 2 + 0.02, length / 2), (-half, half), (0.1 * height, 0.45 * height), paint),
        box(
            (-0.495 * length, 0.495 * length),
            (-0.98 * half, 0.98 * half),
            (0.45 * height, 0.8 * height),
            "glass",
        ),
        box((-length / 2 + 0.02, length / 2), (-half, half), (0.8 * height, height), paint),
        *_wheels(length, width, 0.14 * height, [-0.3, 0.32]),
        *_lamps(length, width, 0.25 * height),
    ]


def _trailer(length: float, width: float, height: float) -> list[Mesh]:
    half = width / 2
    return [
        box(
            (-length / 2 + 0.02, length / 2),
            (-half, half),
            (0.3 * height, height),
            "plastic_orange",
        ),
        box(
            (-0.45 * length, 0.45 * length),
            (-0.3 * half, 0.3 * half),
            (0.22 * height, 0.3 * height),
            "rubber",
        ),
        box((0.28 * length, 0.3 * length), (-0.7 * half, 0.7 * half), (0.0, 0.3 * height), "steel"),
        *_wheels(length, width, 0.13 * height, [-0.42, -0.32, -0.22]),
        *_lamps(length, width, 0.32 * height),
    ]


def _barrier(length: float, width: float, height: float) -> list[Mesh]:
    half = width / 2
    return [
        box((-length / 2, length / 2), (-half, half), (0.0, 0.25 * height), "concrete"),
        box((-0.25 * length, 0.25 * length), (-half, half), (0.25 * height, height), "concrete"),
        box(
            (-0.27 * length, 0.27 * length),
            (-0.9 * half, -0.7 * half),
            (0.7 * height, 0.85 * height),
            "retro",
        ),
    ]


def _two_wheeler(
    length: float, width: float, height: float, rng: Generator, rider: bool, *, heavy: bool
) -> list[Mesh]:
    radius = 0.15 * length if heavy else 0.2 * length
    thick = 0.18 * width if heavy else 0.08 * width
    frame = 0.25 * width if heavy else 0.08 * width
    at = length / 2 - radius
    parts = [
        wheel((-at, 0.0, radius), radius, thick),
        wheel((at, 0.0, radius), radius, thick),
        box(
            (-0.8 * at, 0.8 * at),
            (-frame, frame),
            (0.75 * radius, 0.46 * height),
            _paint(rng) if heavy else "steel",
        ),
        box(
            (0.62 * at, 0.72 * at), (-width / 2, width / 2), (0.62 * height, 0.68 * height), "steel"
        ),
        box((0.63 * at, 0.71 * at), (-0.04, 0.04), (0.4 * height, 0.65 * height), "steel"),
        box(
            (-length / 2, -length / 2 + 0.03),
            (-0.08, 0.08),
            (0.35 * height, 0.45 * height),
            "retro",
        ),
    ]
    if rider:
        cloth = _cloth(rng)
        shoulder = 0.4 * width
        parts += [
            wedge(
                (-0.5 * at, 0.1 * at),
                (-0.2 * at, 0.25 * at),
                (0.3 * width, shoulder),
                (0.48 * height, 0.86 * height),
                cloth,
            ),
            ellipsoid((0.12 * at, 0.0, 0.92 * height), (0.1, 0.09, 0.08 * height), "skin"),
            box(
                (-0.2 * at, 0.2 * at),
                (-0.35 * width, -0.2 * width),
                (0.2 * height, 0.5 * height),
                cloth,
            ),
            box(
                (-0.2 * at, 0.2 * at),
                (0.2 * width, 0.35 * width),
                (0.2 * height, 0.5 * height),
                cloth,
            ),
        ]
    return parts


def _pedestrian(length: float, width: float, height: float, rng: Generator) -> list[Mesh]:
    trousers, jacket = _cloth(rng), _cloth(rng)
    x, y = length / 2, width / 2
    return [
        frustum((0.55 * x, 0.35 * y), (0.16 * y, 0.24 * y), (0.0, 0.48 * height), trousers),
        frustum((-0.55 * x, -0.35 * y), (0.16 * y, 0.24 * y), (0.0, 0.48 * height), trousers),
        wedge(
            (-0.35 * x, 0.35 * x),
            (-0.4 * x, 0.4 * x),
            (0.5 * y, 0.7 * y),
            (0.45 * height, 0.84 * height),
            jacket,
        ),
        box((0.1 * x, x), (-y, -0.75 * y), (0.45 * height, 0.78 * height), jacket),
        box((-x, -0.1 * x), (0.75 * y, y), (0.45 * height, 0.78 * height), jacket),
        ellipsoid((0.0, 0.0, 0.925 * height), (0.1, 0.09, 0.075 * height), "skin"),
    ]


def _cone(length: float, width: float, height: float) -> list[Mesh]:
    half = min(length, width) / 2
    return [
        box((-length / 2, length / 2), (-width / 2, width / 2), (0.0, 0.05 * height), "rubber"),
        frustum((0.0, 0.0), (0.85 * half, 0.15 * half), (0.05 * height, height), "plastic_orange"),
        frustum((0.0, 0.0), (0.62 * half, 0.45 * half), (0.5 * height, 0.7 * height), "retro"),
    ]
