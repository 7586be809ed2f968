"""Casting a sweep's rays at the world and the actors with Open3D.

The static world is one scene in world axes. Every actor has a scene of its own in its body frame,
built once a drive: the rays that can meet it are moved into that frame, so that each column may
have its own instant (motion distortion) and nothing is rebuilt from sweep to sweep. A ray's hit is
the nearest of all; an actor's hits alone, without what stands before it, give its visibility.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64
from numpy import ndarray

from foretell.errors import UserError, missing_package
from lidar.simulate.actors import Actor
from lidar.simulate.mesh import Mesh
from lidar.simulate.sensor import LidarSensor
from lidar.simulate.world import World

STATIC, OWN_CAR = -1, -2
"""Actor numbers of the static world and of the own car."""


@dataclass(frozen=True)
class ActorPoses:
    """World poses of all actors at K instants (K = 1, or one per column), slope included."""

    xyz: Float64[ndarray, "actors instants 3"]
    """Middle of the bottom face."""
    yaw: Float64[ndarray, "actors instants"]


@dataclass(frozen=True)
class Hits:
    """What every ray of a sweep met, in firing order; R = columns x rings."""

    range_m: Float32[ndarray, " rays"]
    """Noise-free; inf where nothing was met."""
    direction: Float32[ndarray, "rays 3"]
    """Unit, in the sensor's axes at the ray's instant."""
    normal: Float32[ndarray, "rays 3"]
    """Unit surface normal towards the sensor, in the sensor's axes."""
    material: Int64[ndarray, " rays"]
    actor: Int32[ndarray, " rays"]
    """Number of the actor; STATIC or OWN_CAR otherwise."""
    alone: Int64[ndarray, " actors"]
    """Rays that would meet each actor if it stood alone."""

    def cos_incidence(self) -> Float32[ndarray, " rays"]:
        """Cosine between ray and normal, in [0, 1]."""
        cos = -(self.direction * self.normal).sum(1)
        return np.asarray(np.clip(cos, 0.0, 1.0), np.float32)


class _Target:
    """A mesh that rays can be cast at, on one thread."""

    def __init__(self, mesh: Mesh) -> None:
        try:
            import open3d
        except ImportError as error:
            if "libusb" in str(error):
                raise UserError(
                    "open3d needs the system library libusb-1.0.so.0; on Debian or Ubuntu: "
                    "apt-get install libusb-1.0-0"
                ) from None
            raise missing_package("open3d", "lidar") from None
        core: Any = open3d.core
        self._tensor = core.Tensor
        self._scene = open3d.t.geometry.RaycastingScene(nthreads=1)
        self._scene.add_triangles(
            self._tensor(np.ascontiguousarray(mesh.vertices, np.float32)),
            self._tensor(np.ascontiguousarray(mesh.triangles, np.uint32)),
        )
        self.material = mesh.material

    def cast(self, origin: ndarray, direction: ndarray) -> tuple[ndarray, ndarray, ndarray]:
        """Range (inf = missed), normal and triangle of each ray."""
        rays = np.empty((len(direction), 6), np.float32)
        rays[:, :3], rays[:, 3:] = origin, direction
        answer: dict[str, Any] = self._scene.cast_rays(self._tensor(rays), nthreads=1)
        return (
            answer["t_hit"].numpy(),
            answer["primitive_normals"].numpy(),
            answer["primitive_ids"].numpy(),
        )


class Scanner:
    """One drive's sensor and everything it can see.

    Args:
        sensor: Rings, columns, mounting.
        world: Static world.
        actors: Bodies, numbered as in the list.
        max_range_m: Nothing beyond is seen.
        own_car: Mesh of the car that carries the sensor, in the ego frame.
    """

    def __init__(
        self,
        sensor: LidarSensor,
        world: World,
        actors: list[Actor],
        *,
        max_range_m: float,
        own_car: Mesh | None = None,
    ) -> None:
        self.sensor, self.max_range_m = sensor, max_range_m
        self.num_actors = len(actors)
        self.direction = sensor.directions()
        self._flat = self.direction.reshape(-1, 3).astype(np.float32)
        self._static = _Target(world.mesh)
        self._bodies = [_Target(actor.body.mesh) for actor in actors]
        sizes = np.array([actor.body.size_lwh for actor in actors]).reshape(-1, 3)
        self._radius = np.linalg.norm(sizes, axis=1) / 2
        self._middle_z = sizes[:, 2] / 2
        self._own = None if own_car is None else _Target(own_car)

    def scan(self, world_SE3_sensor: Float64[ndarray, "instants 4 4"], poses: ActorPoses) -> Hits:
        """Cast all rays.

        Args:
            world_SE3_sensor: Sensor pose at the sweep time, or one per column.
            poses: Actor poses at the same instants.
        """
        rays = len(self._flat)
        rings = self.sensor.rings
        rotation, origin = world_SE3_sensor[:, :3, :3], world_SE3_sensor[:, :3, 3]
        world_direction = np.matmul(self.direction, np.swapaxes(rotation, 1, 2)).reshape(-1, 3)
        per_ray = rings if len(rotation) > 1 else rays
        ray_origin = np.repeat(origin, per_ray, axis=0)
        best, normal, triangle = self._static.cast(ray_origin, world_direction)
        best, normal = best.copy(), normal.copy()
        material = self._static.material[np.minimum(triangle, len(self._static.material) - 1)]
        best[best > self.max_range_m] = np.inf
        normal = _sensor_axes(normal, rotation, per_ray)
        actor = np.full(rays, STATIC, np.int32)
        alone = np.zeros(self.num_actors, np.int64)
        for number, chosen in self._candidates(rotation, origin, poses):
            instant = chosen // per_ray if len(rotation) > 1 else np.zeros(len(chosen), np.int64)
            cos, sin = np.cos(poses.yaw[number, instant]), np.sin(poses.yaw[number, instant])
            offset = ray_origin[chosen] - poses.xyz[number, instant]
            body = self._bodies[number]
            t, body_normal, triangle = body.cast(
                _turn_back(offset, cos, sin), _turn_back(world_direction[chosen], cos, sin)
            )
            seen = t <= self.max_range_m
            alone[number] = int(seen.sum())
            nearer = seen & (t < best[chosen])
            at = chosen[nearer]
            best[at] = t[nearer]
            actor[at] = number
            material[at] = body.material[triangle[nearer]]
            in_world = _turn_back(body_normal[nearer], cos[nearer], -sin[nearer])
            normal[at] = np.einsum("nji,nj->ni", rotation[instant[nearer]], in_world)
        self._see_own_car(best, normal, material, actor)
        facing = (normal * self._flat).sum(1, keepdims=True)
        normal = np.where(facing > 0, -normal, normal).astype(np.float32)
        return Hits(best, self._flat, normal, material, actor, alone)

    def _candidates(
        self, rotation: ndarray, origin: ndarray, poses: ActorPoses
    ) -> list[tuple[int, ndarray]]:
        """Actors and the rays whose line passes their bounding sphere.

        With one instant per column the sphere is taken where it is, seen from the sensor, in the
        middle of the sweep and grown by how far it moves from there.
        """
        centre = poses.xyz.copy()
        centre[..., 2] += self._middle_z[:, None]
        in_sensor = np.einsum("kji,akj->aki", rotation, centre - origin[None])
        middle = in_sensor[:, in_sensor.shape[1] // 2]
        moved = np.linalg.norm(in_sensor - middle[:, None], axis=2).max(axis=1, initial=0.0)
        radius = self._radius + moved + 0.05
        distance = np.linalg.norm(middle, axis=1)
        found = []
        for number in np.nonzero(distance - radius < self.max_range_m)[0]:
            along = self._flat @ middle[number].astype(np.float32)
            if distance[number] <= radius[number]:
                chosen = np.arange(len(self._flat))
            else:
                limit = np.sqrt(distance[number] ** 2 - radius[number] ** 2)
                chosen = np.nonzero(along >= limit)[0]
            if len(chosen):
                found.append((int(number), chosen))
        return found

    def _see_own_car(
        self, best: ndarray, normal: ndarray, material: ndarray, actor: ndarray
    ) -> None:
        if self._own is None:
            return
        mount = self.sensor.ego_SE3_lidar
        t, own_normal, triangle = self._own.cast(mount[:3, 3], self._flat @ mount[:3, :3].T)
        near = t < best
        best[near], actor[near] = t[near], OWN_CAR
        material[near] = self._own.material[triangle[near]]
        normal[near] = own_normal[near] @ mount[:3, :3]


def _turn_back(vectors: ndarray, cos: ndarray, sin: ndarray) -> ndarray:
    """R_z(yaw)^T v for a yaw per vector."""
    x, y = vectors[:, 0], vectors[:, 1]
    return np.stack([cos * x + sin * y, cos * y - sin * x, vectors[:, 2]], axis=1)


def _sensor_axes(normal: ndarray, rotation: ndarray, per_ray: int) -> ndarray:
    """World normals in the sensor's axes of each ray's instant."""
    grouped = normal.reshape(len(rotation), per_ray, 3)
    return np.asarray(np.matmul(grouped, rotation), np.float32).reshape(-1, 3)
