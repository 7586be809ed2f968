"""Triangle meshes with a material per triangle, and the primitives bodies are built of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray
from numpy.random import Generator

from lidar.simulate.materials import material_id

_CUBE = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0.0, 1.0)])
_CUBE_TRIANGLES = np.array(
    [
        *([0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5]),
        *([0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6]),
        *([0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]),
    ]
)


@dataclass(frozen=True)
class Mesh:
    """Vertices in metres, triangles as vertex numbers, material id per triangle."""

    vertices: Float64[ndarray, "vertices 3"]
    triangles: Int64[ndarray, "triangles 3"]
    material: Int64[ndarray, " triangles"]

    def moved(
        self, *, by: Sequence[float] = (0.0, 0.0, 0.0), yaw_rad: float = 0.0, scale: float = 1.0
    ) -> "Mesh":
        """Scale, then turn about +z, then shift."""
        cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
        rotation = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
        moved = scale * self.vertices @ rotation.T + np.asarray(by, np.float64)
        return Mesh(moved, self.triangles, self.material)


def merge(meshes: Sequence[Mesh]) -> Mesh:
    """One mesh of many."""
    first = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    return Mesh(
        np.concatenate([mesh.vertices for mesh in meshes]),
        np.concatenate([m.triangles + n for m, n in zip(meshes, first[:-1], strict=True)]),
        np.concatenate([mesh.material for mesh in meshes]),
    )


def _mesh(vertices: ndarray, triangles: ndarray, material: str) -> Mesh:
    ids = np.full(len(triangles), material_id(material), np.int64)
    return Mesh(np.asarray(vertices, np.float64), np.asarray(triangles, np.int64), ids)


def box(
    x: tuple[float, float], y: tuple[float, float], z: tuple[float, float], material: str
) -> Mesh:
    """Axis-parallel box between the given limits."""
    low = np.array([x[0], y[0], z[0]])
    size = np.array([x[1], y[1], z[1]]) - low
    return _mesh((_CUBE + [0.5, 0.5, 0.0]) * size + low, _CUBE_TRIANGLES, material)


def wedge(
    bottom: tuple[float, float],
    top: tuple[float, float],
    half_width: tuple[float, float],
    z: tuple[float, float],
    material: str,
) -> Mesh:
    """A box whose x limits and half width change from its bottom to its top: a car's cabin."""
    vertices = _CUBE.copy()
    for level, (x0, x1), half in ((0.0, bottom, half_width[0]), (1.0, top, half_width[1])):
        at = _CUBE[:, 2] == level
        vertices[at, 0] = np.where(_CUBE[at, 0] < 0, x0, x1)
        vertices[at, 1] = np.where(_CUBE[at, 1] < 0, -half, half)
        vertices[at, 2] = z[int(level)]
    return _mesh(vertices, _CUBE_TRIANGLES, material)


def frustum(
    centre: tuple[float, float],
    radius: tuple[float, float],
    z: tuple[float, float],
    material: str,
    *,
    sides: int = 8,
) -> Mesh:
    """Upright cylinder or cone: radius at the bottom and at the top."""
    angle = 2 * np.pi * np.arange(sides) / sides
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    rings = [
        np.column_stack([circle * r + centre, np.full(sides, height)])
        for r, height in zip(radius, z, strict=True)
    ]
    i = np.arange(sides)
    j = (i + 1) % sides
    side = np.concatenate([np.stack([i, j, j + sides], 1), np.stack([i, j + sides, i + sides], 1)])
    fan = np.stack([np.zeros(sides - 2, np.int64), i[1:-1], i[2:]], 1)
    triangles = np.concatenate([side, fan[:, ::-1], fan + sides])
    return _mesh(np.concatenate(rings), triangles, material)


def wheel(
    centre: tuple[float, float, float], radius: float, width: float, material: str = "rubber"
) -> Mesh:
    """Cylinder whose axle lies along y."""
    upright = frustum((0.0, 0.0), (radius, radius), (-width / 2, width / 2), material, sides=10)
    turned = upright.vertices[:, [0, 2, 1]] + np.asarray(centre)
    return Mesh(turned, upright.triangles, upright.material)


def ellipsoid(
    centre: tuple[float, float, float], radius: tuple[float, float, float], material: str
) -> Mesh:
    """Octahedron subdivided once and pushed onto an ellipsoid: 32 triangles."""
    corners = np.array(
        [[1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.float64
    )
    faces = [[i, (i + 1) % 4, 4] for i in range(4)] + [[(i + 1) % 4, i, 5] for i in range(4)]
    vertices: list[ndarray] = []
    for a, b, c in (corners[face] for face in faces):
        ab, bc, ca = a + b, b + c, c + a
        for triangle in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)):
            vertices += [point / np.linalg.norm(point) for point in triangle]
    points = np.array(vertices) * radius + centre
    return _mesh(points, np.arange(len(points)).reshape(-1, 3), material)


def clutter(
    rng: Generator,
    centre: tuple[float, float, float],
    radius: tuple[float, float, float],
    material: str,
    *,
    count: int,
    size_m: float,
) -> Mesh:
    """Random small triangles in an ellipsoid: foliage that some rays pass through."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    at = direction * rng.uniform(0.3, 1.0, (count, 1)) * radius + centre
    corners = at[:, None, :] + rng.uniform(-size_m, size_m, (count, 3, 3))
    corners[..., 2] = np.maximum(corners[..., 2], 0.02)
    return _mesh(corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3), material)


def quad(x: tuple[float, float], y: tuple[float, float], z: float, material: str) -> Mesh:
    """Horizontal rectangle facing up."""
    vertices = np.array([[x[0], y[0], z], [x[1], y[0], z], [x[1], y[1], z], [x[0], y[1], z]])
    return _mesh(vertices, np.array([[0, 1, 2], [0, 2, 3]]), material)
