"""The still part of a drive: ground with kerbs and slope, buildings, poles, trees, markings."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from numpy.random import Generator

from lidar.simulate.layout import (
    CROSSING_M,
    KERB_M,
    LANE_M,
    PAVEMENT_M,
    SIDE_KERB_M,
    SIDE_LENGTH_M,
    SIDE_PAVEMENT_M,
    STOP_M,
    Street,
)
from lidar.simulate.mesh import Mesh, box, clutter, frustum, merge, quad

KERB_HEIGHT_M = 0.15
_PAINT_Z = 0.004
_OUTSIDE_M = 60.0


@dataclass(frozen=True)
class World:
    """Static surfaces and the slope everything stands on: z = flat z + slope . (x, y)."""

    mesh: Mesh
    slope: tuple[float, float]

    def ground_z(self, xy: Float64[ndarray, "points 2"]) -> Float64[ndarray, " points"]:
        """Height that the slope adds at points of the plane."""
        return np.asarray(xy @ np.asarray(self.slope, np.float64))

    def up(self) -> Float64[ndarray, "3"]:
        """Unit normal of the ground."""
        normal = np.array([-self.slope[0], -self.slope[1], 1.0])
        return np.asarray(normal / np.linalg.norm(normal))


def sloped(flat: Mesh, slope: tuple[float, float]) -> World:
    """Put a flat world on a slope."""
    vertices = flat.vertices.copy()
    vertices[:, 2] += vertices[:, :2] @ np.asarray(slope)
    return World(Mesh(vertices, flat.triangles, flat.material), slope)


def build_world(street: Street, max_slope: float, rng: Generator) -> World:
    """Draw the static world of a street."""
    parts = [
        *_ground(street),
        *_markings(street),
        *_buildings(street, rng),
        *_side_buildings(street, rng),
        *_furniture(street, rng),
    ]
    gx, gy = rng.uniform(-max_slope, max_slope, 2)
    return sloped(merge(parts), (float(gx), float(gy)))


def _blocks(street: Street, margin_m: float) -> list[tuple[float, float]]:
    """x intervals of the main street between the side streets."""
    edges = [street.x_min - _OUTSIDE_M]
    for at in street.junctions:
        edges += [at - margin_m, at + margin_m]
    edges.append(street.x_max + _OUTSIDE_M)
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b > a]


def _ground(street: Street) -> list[Mesh]:
    whole = (street.x_min - 2 * _OUTSIDE_M, street.x_max + 2 * _OUTSIDE_M)
    far = SIDE_LENGTH_M + _OUTSIDE_M
    parts = [
        quad(whole, (-far, far), -0.03, "grass"),
        quad(whole, (-KERB_M, KERB_M), 0.0, "asphalt"),
    ]
    height = (-0.03, KERB_HEIGHT_M)
    for side in (-1.0, 1.0):
        inner, outer = sorted((side * KERB_M, side * PAVEMENT_M))
        for block in _blocks(street, SIDE_KERB_M):
            parts.append(box(block, (inner, outer), height, "pavement"))
        near, end = sorted((side * KERB_M, side * far))
        for at in street.junctions:
            parts.append(quad((at - SIDE_KERB_M, at + SIDE_KERB_M), (near, end), 0.0, "asphalt"))
            begin, end_pavement = sorted((side * PAVEMENT_M, side * far))
            for hand in (-1.0, 1.0):
                x = sorted((at + hand * SIDE_KERB_M, at + hand * SIDE_PAVEMENT_M))
                parts.append(box((x[0], x[1]), (begin, end_pavement), height, "pavement"))
    return parts


def _markings(street: Street) -> list[Mesh]:
    parts = []
    for begin, end in _blocks(street, STOP_M):
        for x in np.arange(begin, end - 3.0, 9.0):
            for y in (-LANE_M, LANE_M):
                parts.append(quad((x, x + 3.0), (y - 0.07, y + 0.07), _PAINT_Z, "road_paint"))
        for y in (-2 * LANE_M, -0.12, 0.12, 2 * LANE_M):
            parts.append(quad((begin, end), (y - 0.06, y + 0.06), _PAINT_Z, "road_paint"))
    for at in street.junctions:
        for side in (-1.0, 1.0):
            x = at + side * CROSSING_M
            for y in np.arange(-KERB_M + 0.4, KERB_M - 0.4, 1.1):
                parts.append(quad((x - 1.5, x + 1.5), (y, y + 0.5), _PAINT_Z, "road_paint"))
            stop = at + side * STOP_M
            lanes = (-2 * LANE_M, 0.0) if side < 0 else (0.0, 2 * LANE_M)
            parts.append(quad((stop - 0.2, stop + 0.2), lanes, _PAINT_Z, "road_paint"))
    return parts


def _buildings(street: Street, rng: Generator) -> list[Mesh]:
    parts = []
    for side in (-1.0, 1.0):
        for begin, end in _blocks(street, SIDE_PAVEMENT_M + 1.0):
            x = begin + rng.uniform(0.0, 4.0)
            while x < end - 8.0:
                width = min(float(rng.uniform(9.0, 24.0)), end - x)
                front = PAVEMENT_M + float(rng.uniform(0.6, 4.0))
                parts += _building(x, x + width, front, side, rng)
                x += width + float(rng.choice([0.0, 2.0, 6.0, 14.0], p=[0.35, 0.25, 0.25, 0.15]))
    return parts


def _building(x0: float, x1: float, front: float, side: float, rng: Generator) -> list[Mesh]:
    """A block with rows of windows that stand 4 cm proud of its front."""
    wall = str(rng.choice(["brick", "concrete", "plaster"]))
    floors = int(rng.integers(2, 7))
    depth = sorted((side * front, side * (front + float(rng.uniform(8.0, 14.0)))))
    parts = [box((x0, x1), (depth[0], depth[1]), (-0.1, 3.1 * floors + 0.4), wall)]
    pane = sorted((side * (front - 0.04), side * (front + 0.02)))
    for floor in range(min(floors, 4)):
        for x in np.arange(x0 + 1.0, x1 - 2.2, 2.9):
            z = 3.1 * floor + 1.0
            parts.append(box((x, x + 1.4), (pane[0], pane[1]), (z, z + 1.5), "glass"))
    if rng.random() < 0.5:  # a porch gives the front some depth
        x = float(rng.uniform(x0, max(x0 + 0.1, x1 - 3.0)))
        porch = sorted((side * (front - 0.5), side * front))
        parts.append(box((x, min(x + 2.5, x1)), (porch[0], porch[1]), (-0.1, 2.7), "concrete"))
    return parts


def _side_buildings(street: Street, rng: Generator) -> list[Mesh]:
    parts = []
    for at in street.junctions:
        for side in (-1.0, 1.0):
            for hand in (-1.0, 1.0):
                y = PAVEMENT_M + 18.0
                while y < SIDE_LENGTH_M:
                    long = float(rng.uniform(8.0, 20.0))
                    near = SIDE_PAVEMENT_M + float(rng.uniform(0.5, 3.0))
                    x = sorted((at + hand * near, at + hand * (near + 10.0)))
                    span = sorted((side * y, side * (y + long)))
                    wall = str(rng.choice(["brick", "concrete", "plaster"]))
                    height = float(rng.uniform(5.0, 15.0))
                    parts.append(box((x[0], x[1]), (span[0], span[1]), (-0.1, height), wall))
                    y += long + float(rng.uniform(0.0, 8.0))
    return parts


def _furniture(street: Street, rng: Generator) -> list[Mesh]:
    """Lamps, signs, traffic lights, trees and hedges, clear of the walkers' tracks."""
    parts = []
    for side in (-1.0, 1.0):
        for x in np.arange(street.x_min, street.x_max, 6.0):
            at = float(x + rng.uniform(-1.5, 1.5))
            kind = str(rng.choice(["tree", "lamp", "sign", "none"], p=[0.4, 0.15, 0.12, 0.33]))
            if street.near_crossing(at, 2.0) or street.near_junction(at, SIDE_PAVEMENT_M):
                continue
            if side < 0 and abs(at - street.work_x) < 12.0:
                continue
            parts += _roadside(kind, at, side * 11.9, rng)
            if rng.random() < 0.2:
                hedge = (at, side * (PAVEMENT_M + 0.3), 0.7)
                parts.append(
                    clutter(rng, hedge, (2.2, 0.35, 0.7), "foliage", count=120, size_m=0.25)
                )
    for at in street.junctions:
        for x, y in ((at - 5.4, -11.7), (at + 5.4, 11.7)):
            parts.append(frustum((x, y), (0.09, 0.07), (0.0, 3.4), "steel"))
            parts.append(box((x - 0.15, x + 0.15), (y - 0.15, y + 0.15), (2.5, 3.4), "steel"))
    return parts


def _roadside(kind: str, x: float, y: float, rng: Generator) -> list[Mesh]:
    match kind:
        case "tree":
            trunk, size = float(rng.uniform(2.2, 3.2)), float(rng.uniform(1.2, 2.0))
            crown = (x, y, trunk + size)
            return [
                frustum((x, y), (0.22, 0.15), (0.0, trunk + 0.5), "bark"),
                clutter(rng, crown, (size, size, 1.1 * size), "foliage", count=180, size_m=0.3),
            ]
        case "lamp":
            arm = sorted((y, y - np.sign(y) * 1.5))
            return [
                frustum((x, y), (0.11, 0.07), (0.0, 7.5), "steel"),
                box((x - 0.05, x + 0.05), (arm[0], arm[1]), (7.4, 7.5), "steel"),
            ]
        case "sign":
            return [
                frustum((x, y), (0.04, 0.04), (0.0, 2.3), "steel"),
                box((x - 0.03, x + 0.03), (y - 0.35, y + 0.35), (2.3, 3.0), "retro"),
            ]
    return []
