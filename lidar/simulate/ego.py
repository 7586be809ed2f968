"""The own car: its route, its body in traffic, and its pose on the sloped ground."""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from numpy.random import Generator

from lidar.geometry.se3 import se3
from lidar.simulate.config import SimulateConfig
from lidar.simulate.layout import INNER_M, OUTER_M, Street, make_street
from lidar.simulate.mesh import Mesh, box, merge, wedge
from lidar.simulate.tracks import Track
from lidar.simulate.traffic import WARM_UP_S, Agent
from lidar.simulate.world import World

EGO_LENGTH_M, EGO_WIDTH_M, EGO_HEIGHT_M = 4.08, 1.73, 1.56
REAR_AXLE_M = 1.30
"""Centre of the own car ahead of its rear axle, which is the origin of the ego frame."""
_ROUTES = ("straight", "turn_left", "lane_change", "turn_right", "stop_and_go")


@runtime_checkable
class EgoMotion(Protocol):
    """Poses of the ego frame."""

    def poses(self, time_s: Float64[ndarray, " times"]) -> Float64[ndarray, "times 4 4"]:
        """world_SE3_ego at the given times."""


@dataclass(frozen=True)
class GroundedEgo:
    """A planar track (a unicycle: heading along the velocity) laid onto the slope of the ground."""

    track: Track
    world: World

    def poses(self, time_s: Float64[ndarray, " times"]) -> Float64[ndarray, "times 4 4"]:
        """world_SE3_ego: x along the heading within the ground plane, z along its normal."""
        pose = self.track.pose(time_s)
        up = np.broadcast_to(self.world.up(), (len(time_s), 3))
        level = np.stack([np.cos(pose.yaw), np.sin(pose.yaw), np.zeros(len(time_s))], axis=1)
        left = np.cross(up, level)
        left /= np.linalg.norm(left, axis=1, keepdims=True)
        forward = np.cross(left, up)
        xyz = pose.xyz.copy()
        xyz[:, 2] += self.world.ground_z(xyz[:, :2])
        return se3(np.stack([forward, left, up], axis=2), xyz)


def plan_ego(config: SimulateConfig, scene: int, rng: Generator) -> tuple[Street, Agent]:
    """The street of a drive and the own car's plan in it, which starts near x = 0."""
    kind = _ROUTES[scene % len(_ROUTES)] if config.ego == "mixed" else config.ego
    speed = config.ego_speed_mps * float(rng.uniform(0.85, 1.15))
    lights: dict[str, Literal["arrow", "red"]] = {"turn_left": "arrow", "stop_and_go": "red"}
    street = make_street(speed, config.duration_s, rng, first_light=lights.get(kind, "green"))
    begin = -speed * WARM_UP_S
    match kind:
        case "turn_left" | "turn_right":
            path, stops = street.turn(begin, 1, kind == "turn_left", True)
        case "lane_change":
            after = WARM_UP_S * speed + float(rng.uniform(5.0, 25.0))
            path, stops = street.main_lane_change(begin, OUTER_M, INNER_M, after, True)
        case _:
            lane = INNER_M if rng.random() < 0.5 else OUTER_M
            path, stops = street.main_lane(begin, lane, True)
    agent = Agent(path, EGO_LENGTH_M, EGO_WIDTH_M, speed, stops=stops, centre_m=REAR_AXLE_M)
    return street, agent


def own_car() -> Mesh:
    """What the sensor sees of the car that carries it, in the ego frame."""
    half = EGO_WIDTH_M / 2
    rear, front = REAR_AXLE_M - EGO_LENGTH_M / 2, REAR_AXLE_M + EGO_LENGTH_M / 2
    return merge(
        [
            box((rear, front), (-half, half), (0.25, 0.85), "paint_light"),
            wedge(
                (rear + 0.1, front - 0.9),
                (rear + 0.4, front - 1.8),
                (0.95 * half, 0.7 * half),
                (0.85, EGO_HEIGHT_M),
                "glass",
            ),
            box((0.55, 1.35), (-0.5, 0.5), (EGO_HEIGHT_M, EGO_HEIGHT_M + 0.06), "steel"),
        ]
    )
