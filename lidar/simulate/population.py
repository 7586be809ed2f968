"""Who is on the street: vehicles in lanes, parked ones, a work zone, cyclists and walkers."""

from dataclasses import dataclass, field

import numpy as np
from numpy.random import Generator

from lidar.simulate.actors import Actor
from lidar.simulate.bodies import Body, make_body
from lidar.simulate.collisions import keep_apart
from lidar.simulate.config import ActorCounts
from lidar.simulate.ego import EGO_LENGTH_M, EGO_WIDTH_M, REAR_AXLE_M
from lidar.simulate.layout import (
    CYCLE_M,
    INNER_M,
    KERB_M,
    OUTER_M,
    PARKING_M,
    Stop,
    Street,
)
from lidar.simulate.paths import Path, route
from lidar.simulate.tracks import PathTrack, StandingTrack, Track
from lidar.simulate.traffic import STEP_S, WARM_UP_S, Agent, Motion, simulate_traffic
from lidar.simulate.world import KERB_HEIGHT_M

_WALK_Y = (12.9, 13.7, 14.5, 15.2)
_RACK_Y = 15.95
_SPEED_MPS = {
    "car": (7.0, 12.0),
    "truck": (6.0, 9.5),
    "bus": (6.0, 9.0),
    "construction_vehicle": (3.5, 5.5),
    "motorcycle": (8.0, 12.0),
    "bicycle": (3.5, 6.0),
    "pedestrian": (0.9, 1.8),
}


@dataclass(frozen=True)
class _Plan:
    """An actor before its motion is known: an agent in traffic, or a place."""

    name: str
    body: Body
    agent: Agent | None = None
    place: StandingTrack | None = None
    state: str = "active"
    tail: Body | None = None


@dataclass
class _Draft:
    """Collects plans; remembers which stretches of each lane are taken."""

    street: Street
    ego: Agent
    duration_s: float
    rng: Generator
    plans: list[_Plan] = field(default_factory=list)
    taken: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    @property
    def drive_m(self) -> float:
        """How far the own car may get."""
        return self.ego.speed_mps * self.duration_s

    def claim(self, lane: str, x: float, half_m: float, gap_m: float) -> bool:
        """Take a stretch of a lane if it is free."""
        others = self.taken.setdefault(lane, [])
        if any(abs(x - other) < half_m + other_half + gap_m for other, other_half in others):
            return False
        others.append((x, half_m))
        return True

    def speed(self, name: str) -> float:
        """A desired speed of a class."""
        return float(self.rng.uniform(*_SPEED_MPS[name]))


def populate(
    counts: ActorCounts, street: Street, ego: Agent, duration_s: float, rng: Generator
) -> tuple[Track, list[Actor]]:
    """Let traffic run and return the own car's track and all actors that touch no other.

    Args:
        counts: Actors by class.
        street: Lanes and lights.
        ego: Plan of the own car.
        duration_s: Length of the drive.
        rng: Draws everything.
    """
    draft = _Draft(street, ego, duration_s, rng)
    ego_lane = "f_in" if abs(ego.path.xy[0, 1]) < 3.5 else "f_out"
    draft.claim(ego_lane, 0.0, EGO_LENGTH_M / 2 + 2.0, 0.0)
    if ego_lane == "f_in" and any(stop.movement == "main_left" for stop in ego.stops):
        draft.claim(ego_lane, street.junctions[1] / 2, street.junctions[1] / 2, 0.0)
    _work_zone(draft, counts)
    _vehicles(draft, counts)
    _parked(draft, counts)
    _two_wheelers(draft, counts)
    _walkers(draft, counts)
    agents = [ego, *(plan.agent for plan in draft.plans if plan.agent is not None)]
    motion = simulate_traffic(agents, street, duration_s)
    track = _track(ego, motion, 0)
    return track, _without_collisions(_actors(draft, motion), track, duration_s)


def _track(agent: Agent, motion: Motion, i: int, offset_m: float = 0.0) -> PathTrack:
    kerb = KERB_M if agent.walker else None
    rows = (motion.s_m[i], motion.speed_mps[i], motion.acceleration[i])
    return PathTrack(agent.path, motion.start_s, STEP_S, *rows, offset_m, kerb, KERB_HEIGHT_M)


def _actors(draft: _Draft, motion: Motion) -> list[Actor]:
    actors, row = [], 0
    for number, plan in enumerate(draft.plans):
        if plan.agent is None:
            assert plan.place is not None
            actors.append(Actor(plan.name, plan.body, plan.place, plan.state))  # type: ignore[arg-type]
            continue
        row += 1
        group = -1 if plan.tail is None else number
        track = _track(plan.agent, motion, row)
        actors.append(Actor(plan.name, plan.body, track, group=group))
        if plan.tail is not None and plan.agent.tail is not None:
            towed = _track(plan.agent, motion, row, -plan.agent.tail[0])
            actors.append(Actor("trailer", plan.tail, towed, group=group))
    return actors


def _without_collisions(actors: list[Actor], ego: Track, duration_s: float) -> list[Actor]:
    order = {"pedestrian": 3, "bicycle": 2}
    ranked = sorted(
        range(len(actors)), key=lambda i: (order.get(actors[i].name, 1 - actors[i].track.moves), i)
    )
    times = np.arange(0.0, duration_s + 0.3, 0.2)
    poses = [ego.pose(times), *(actors[i].track.pose(times) for i in ranked)]
    xy = np.stack([pose.xyz[:, :2] for pose in poses], axis=1)
    yaw = np.stack([pose.yaw for pose in poses], axis=1)
    xy[:, 0] += REAR_AXLE_M * np.stack([np.cos(yaw[:, 0]), np.sin(yaw[:, 0])], axis=1)
    sizes = [(EGO_LENGTH_M, EGO_WIDTH_M), *(actors[i].body.size_lwh[:2] for i in ranked)]
    names = ["ego", *(actors[i].name for i in ranked)]
    groups = [-1, *(actors[i].group for i in ranked)]
    kept = keep_apart(xy, yaw, np.array(sizes), names, groups)
    return [actors[i] for i in sorted(ranked[k - 1] for k in kept if k > 0)]


def _work_zone(draft: _Draft, counts: ActorCounts) -> None:
    """Barriers, cones and a machine in the parking lane on the right, near the own car's route."""
    rng = draft.rng
    middle = draft.street.work_x
    draft.claim("park_f", middle, 11.0, 0.0)
    if counts.construction_vehicle:
        body = make_body("construction_vehicle", rng)
        yaw = 0.0 if rng.random() < 0.5 else np.pi
        place = StandingTrack((middle, -PARKING_M - 0.25, 0.0), yaw)
        draft.plans.append(_Plan("construction_vehicle", body, place=place, state="parked"))
    for i in range(counts.barrier):  # long side along the street, behind the machine
        x = middle + 3.3 * (i - (counts.barrier - 1) / 2)
        place = StandingTrack((x, -KERB_M - 1.0, KERB_HEIGHT_M), float(np.pi / 2))
        draft.plans.append(_Plan("barrier", make_body("barrier", rng), place=place))
    for i in range(counts.traffic_cone):
        x = middle + 2.2 * (i - (counts.traffic_cone - 1) / 2)
        y = -8.2 + float(rng.uniform(-0.05, 0.05))
        place = StandingTrack((x, y, 0.0), float(rng.uniform(-np.pi, np.pi)))
        draft.plans.append(_Plan("traffic_cone", make_body("traffic_cone", rng), place=place))


def _vehicles(draft: _Draft, counts: ActorCounts) -> None:
    trailers = counts.trailer
    big = ["truck"] * counts.truck + ["bus"] * counts.bus
    big += ["construction_vehicle"] * max(0, counts.construction_vehicle - 1)
    riders = counts.motorcycle - counts.motorcycle // 3
    small = ["car"] * (counts.car - counts.car // 2) + ["motorcycle"] * riders
    for name in big + small:
        body = make_body(name, draft.rng)
        tail = make_body("trailer", draft.rng) if name == "truck" and trailers > 0 else None
        agent = None
        for _ in range(60):
            agent = _driver(draft, name, body, tail)
            if agent is not None:
                break
        if agent is not None:
            trailers -= tail is not None
            draft.plans.append(_Plan(name, body, agent, tail=tail))
    for _ in range(trailers):
        _park(draft, "trailer", make_body("trailer", draft.rng))


def _driver(draft: _Draft, name: str, body: Body, tail: Body | None) -> Agent | None:
    """Draw a lane, a place in it and a route; none when the place is taken."""
    rng, speed = draft.rng, draft.speed(name)
    length, width, _ = body.size_lwh
    back = 0.0 if tail is None else length / 2 + 0.8 + tail.size_lwh[0] / 2
    hitch = None if tail is None else (back, tail.size_lwh[0], tail.size_lwh[1])
    half = length / 2 + (0.0 if tail is None else back)
    lanes = (
        ["f_out", "b_out"]
        if name not in ("car", "motorcycle")
        else ["f_in", "f_out", "b_in", "b_out", "side"]
    )
    lane = str(rng.choice(lanes))
    if lane == "side":
        return _side_driver(draft, body, speed)
    forward = lane[0] == "f"
    x = float(rng.uniform(-40.0, 60.0) if forward else rng.uniform(-5.0, 50 + 1.2 * draft.drive_m))
    if not draft.claim(lane, x, half, 7.0):
        return None
    begin = x - (1.0 if forward else -1.0) * speed * WARM_UP_S
    path, stops = _choose_route(draft, name, lane, begin, forward, speed)
    return Agent(path, length, width, speed, stops=stops, tail=hitch)


def _choose_route(
    draft: _Draft, name: str, lane: str, begin: float, forward: bool, speed: float
) -> tuple[Path, list[Stop]]:
    street, rng = draft.street, draft.rng
    lateral, other = (INNER_M, OUTER_M) if lane.endswith("in") else (OUTER_M, INNER_M)
    choice = rng.random() if name in ("car", "motorcycle") else 0.0
    if choice > 0.75:
        ahead = [
            i for i, at in enumerate(street.junctions) if (at - begin) * (1 if forward else -1) > 40
        ]
        left = lane.endswith("in")
        junction = (ahead[0] if forward else ahead[-1]) if ahead else 0
        arrival = abs(street.junctions[junction] - begin) / speed - WARM_UP_S
        if ahead and (not left or street.is_green(junction, "main_left", arrival)):
            return street.turn(begin, junction, left, forward)
    if choice > 0.55:
        after = float(rng.uniform(35.0, 90.0))
        return street.main_lane_change(begin, lateral, other, after, forward)
    return street.main_lane(begin, lateral, forward)


def _side_driver(draft: _Draft, body: Body, speed: float) -> Agent | None:
    rng, street = draft.rng, draft.street
    near = [i for i, at in enumerate(street.junctions) if -30 < at < draft.drive_m + 60]
    junction = int(rng.choice(near)) if near else 1
    forward = bool(rng.random() < 0.5)
    y = float(rng.uniform(-80.0, -22.0))
    if not draft.claim(f"side{junction}{forward}", y, body.size_lwh[0] / 2, 7.0):
        return None
    y = max(y - speed * WARM_UP_S, -110.0)
    path, stops = street.side_lane(junction, y if forward else -y, forward)
    return Agent(path, body.size_lwh[0], body.size_lwh[1], speed, stops=stops)


def _parked(draft: _Draft, counts: ActorCounts) -> None:
    for _ in range(counts.car // 2):
        _park(draft, "car", make_body("car", draft.rng))


def _park(draft: _Draft, name: str, body: Body) -> None:
    rng, street, half = draft.rng, draft.street, body.size_lwh[0] / 2
    for _ in range(60):
        x, side = float(rng.uniform(-25.0, draft.drive_m + 45.0)), rng.choice(["f", "b"])
        if street.near_junction(x, 16.0 + half) or street.near_crossing(x, 2.5 + half):
            continue
        if draft.claim(f"park_{side}", x, half, 1.0):
            y = -PARKING_M if side == "f" else PARKING_M
            yaw = 0.0 if side == "f" else np.pi
            turned = yaw + float(rng.normal(0.0, 0.02))
            place = StandingTrack((x, y + float(rng.uniform(-0.1, 0.1)), 0.0), turned)
            draft.plans.append(_Plan(name, body, place=place, state="parked"))
            return


def _two_wheelers(draft: _Draft, counts: ActorCounts) -> None:
    rng = draft.rng
    for name, total in (("bicycle", counts.bicycle), ("motorcycle", counts.motorcycle)):
        for i in range(total):
            if i % 3 == 2:
                body = make_body(name, rng, rider=False)
                if name == "motorcycle":
                    _park(draft, name, body)
                    continue
                side = float(rng.choice([-1.0, 1.0]))
                x = float(rng.uniform(-10.0, draft.drive_m + 20.0))
                place = StandingTrack((x, side * _RACK_Y, KERB_HEIGHT_M), 0.0)
                draft.plans.append(_Plan(name, body, place=place, state="parked"))
            elif name == "bicycle":
                _cyclist(draft)


def _cyclist(draft: _Draft) -> None:
    rng, body, speed = draft.rng, make_body("bicycle", draft.rng), draft.speed("bicycle")
    for _ in range(30):
        forward = bool(rng.random() < 0.5)
        x = float(rng.uniform(-10.0, 40.0 + (0.5 if forward else 1.2) * draft.drive_m))
        if draft.claim(f"cycle{forward}", x, 1.0, 6.0):
            begin = x - (1.0 if forward else -1.0) * speed * WARM_UP_S
            path, stops = draft.street.main_lane(begin, CYCLE_M, forward)
            agent = Agent(path, *body.size_lwh[:2], speed, stops=stops)
            draft.plans.append(_Plan("bicycle", body, agent))
            return


def _walkers(draft: _Draft, counts: ActorCounts) -> None:
    rng = draft.rng
    for i in range(counts.pedestrian):
        side = float(rng.choice([-1.0, 1.0]))
        x = float(rng.uniform(-15.0, draft.drive_m + 25.0))
        if i % 5 == 4:
            sitting = bool(rng.random() < 0.3)
            body = make_body("pedestrian", rng, sitting=sitting)
            y = side * float(rng.choice(_WALK_Y))
            place = StandingTrack((x, y, KERB_HEIGHT_M), float(rng.uniform(-np.pi, np.pi)))
            state = "sitting" if sitting else "active"
            draft.plans.append(_Plan("pedestrian", body, place=place, state=state))
            continue
        body = make_body("pedestrian", rng)
        agent = _crosser(draft, body, side) if i % 4 == 1 else _stroller(draft, body, side, x)
        draft.plans.append(_Plan("pedestrian", body, agent))


def _stroller(draft: _Draft, body: Body, side: float, x: float) -> Agent:
    """Along the pavement; two tracks for either direction; some stop for a while."""
    rng, speed = draft.rng, draft.speed("pedestrian")
    track = int(rng.integers(len(_WALK_Y)))
    forward = track % 2 == 0
    begin = x - (1.0 if forward else -1.0) * speed * WARM_UP_S
    path = route((begin, side * _WALK_Y[track]), 0.0 if forward else np.pi, [(150.0, 0.0)])
    pauses: tuple[tuple[float, float], ...] = ()
    if rng.random() < 0.25:
        pause = float(rng.uniform(0.0, draft.duration_s))
        pauses = ((pause, pause + float(rng.uniform(1.0, 4.0))),)
    return Agent(path, *body.size_lwh[:2], speed, walker=True, pauses=pauses)


def _crosser(draft: _Draft, body: Body, side: float) -> Agent:
    """Across the main street at a crossing, when there is a gap in the traffic."""
    rng, speed = draft.rng, draft.speed("pedestrian")
    near = [x for x in draft.street.crossings if 5.0 < x < draft.drive_m + 30.0]
    x = float(rng.choice(near)) if near else draft.street.crossings[0]
    begin = side * (KERB_M + float(rng.uniform(1.2, 4.5)))
    x += float(rng.uniform(-1.2, 1.2))
    path = route((x, begin), float(-side * np.pi / 2), [(40.0, 0.0)])
    starts = float(rng.uniform(-WARM_UP_S, 0.4 * draft.duration_s))
    return Agent(
        path,
        *body.size_lwh[:2],
        speed,
        walker=True,
        pauses=((-WARM_UP_S, starts),),
        wait_at_m=abs(begin) - KERB_M - 0.5,
        end_m=abs(begin) + KERB_M + float(rng.uniform(1.2, 4.0)),
    )
