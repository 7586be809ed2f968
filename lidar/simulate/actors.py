"""One simulated object: class, box, body, motion, and what an annotator would write about it."""

import math
from dataclasses import dataclass
from typing import Literal

from lidar.simulate.bodies import Body
from lidar.simulate.tracks import Track

CATEGORY: dict[str, str] = {
    "car": "vehicle.car",
    "truck": "vehicle.truck",
    "construction_vehicle": "vehicle.construction",
    "bus": "vehicle.bus.rigid",
    "trailer": "vehicle.trailer",
    "barrier": "movable_object.barrier",
    "motorcycle": "vehicle.motorcycle",
    "bicycle": "vehicle.bicycle",
    "pedestrian": "human.pedestrian.adult",
    "traffic_cone": "movable_object.trafficcone",
}
"""nuScenes category name of each class."""

MOVING_MPS = 0.5
"""Faster than this an actor is moving."""


@dataclass(frozen=True)
class Actor:
    """One object of a drive."""

    name: str
    """Class, one of the ten."""
    body: Body
    track: Track
    state: Literal["active", "parked", "sitting"] = "active"
    """parked = nobody uses it: no rider, no driver."""
    group: int = -1
    """Actors of one group >= 0 belong together: a truck and its trailer."""
    life_s: tuple[float, float] = (-math.inf, math.inf)
    """From when to when it is there, seconds since the start of the drive."""

    def attribute(self, speed_mps: float) -> str:
        """nuScenes attribute at a speed; empty for barriers and cones."""
        if self.name in ("barrier", "traffic_cone"):
            return ""
        if self.name in ("motorcycle", "bicycle"):
            return "cycle.without_rider" if self.state == "parked" else "cycle.with_rider"
        moving = speed_mps > MOVING_MPS
        if self.name == "pedestrian":
            if self.state == "sitting":
                return "pedestrian.sitting_lying_down"
            return "pedestrian.moving" if moving else "pedestrian.standing"
        if self.state == "parked":
            return "vehicle.parked"
        return "vehicle.moving" if moving else "vehicle.stopped"
