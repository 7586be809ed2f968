"""Traffic that follows rules: the Intelligent Driver Model along paths, lights, yielding.

Every step each driver looks along its own path for the first body in its way or red light and
accelerates by a (1 - (v/v0)^4 - (gap*/gap)^2), gap* = g0 + v T + v (v - v_lead)/(2 sqrt(a b))
(Treiber, Hennecke, Helbing, Phys. Rev. E 62, 2000). Walkers keep their pace, wait for a gap before
they step onto the road, and cars yield to them.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from lidar.simulate.layout import Stop, Street
from lidar.simulate.paths import Path

STEP_S = 0.1
WARM_UP_S = 3.0
LOOK_AHEAD_M, LOOK_STEP_M = 42.0, 1.5
MIN_GAP_M, HEADWAY_S, ACCELERATION, BRAKING, HARD_BRAKING = 2.5, 1.2, 1.6, 2.2, 6.0
LATERAL_ACCELERATION = 2.5
SIDE_MARGIN_M = 0.3
WALKER_LOOK_S = 1.6


@dataclass(frozen=True)
class Agent:
    """One mover and its plan."""

    path: Path
    length_m: float
    width_m: float
    speed_mps: float
    """Desired speed, also the first speed."""
    walker: bool = False
    stops: list[Stop] = field(default_factory=list)
    centre_m: float = 0.0
    """Centre of the body ahead of the path point (the own car's path is its rear axle's)."""
    tail: tuple[float, float, float] | None = None
    """Towed body: its centre behind this one's, length, width."""
    pauses: tuple[tuple[float, float], ...] = ()
    """Times at which a walker stands."""
    wait_at_m: float | None = None
    """Arc length at which a walker waits for a gap in the traffic."""
    end_m: float = np.inf
    """Arc length at which a walker stops for good."""


@dataclass(frozen=True)
class Motion:
    """Arc length, speed and acceleration of every agent at each step."""

    start_s: float
    s_m: Float64[ndarray, "agents steps"]
    speed_mps: Float64[ndarray, "agents steps"]
    acceleration: Float64[ndarray, "agents steps"]


def simulate_traffic(agents: list[Agent], street: Street, duration_s: float) -> Motion:
    """Move all agents from `WARM_UP_S` before the drive to its end."""
    steps = int(np.ceil((duration_s + WARM_UP_S) / STEP_S)) + 2
    state = _State(agents)
    motion = Motion(-WARM_UP_S, *(np.zeros((len(agents), steps)) for _ in range(3)))
    for step in range(steps):
        acceleration = state.accelerate(street, -WARM_UP_S + step * STEP_S)
        motion.s_m[:, step], motion.speed_mps[:, step] = state.s, state.v
        motion.acceleration[:, step] = acceleration
        state.s = state.s + state.v * STEP_S + 0.5 * acceleration * STEP_S**2
        state.v = np.maximum(state.v + acceleration * STEP_S, 0.0)
    return motion


class _State:
    """Positions and speeds of all agents, and what they decide."""

    def __init__(self, agents: list[Agent]) -> None:
        self.agents = agents
        self.s = np.zeros(len(agents))
        self.v = np.array([agent.speed_mps for agent in agents])
        self.walker = np.array([agent.walker for agent in agents], bool)
        self.released = np.zeros(len(agents), bool)
        self.length = np.array([agent.length_m for agent in agents])
        self.width = np.array([agent.width_m for agent in agents])
        self.tow = [i for i, agent in enumerate(agents) if agent.tail is not None]

    def accelerate(self, street: Street, time_s: float) -> Float64[ndarray, " agents"]:
        """Acceleration of every agent for the coming step; speeds never become negative."""
        bodies = self._bodies()
        acceleration = np.zeros(len(self.agents))
        for i, agent in enumerate(self.agents):
            if agent.walker:
                acceleration[i] = self._walk(i, time_s, bodies)
            else:
                acceleration[i] = self._drive(i, street, time_s, bodies)
        return np.maximum(acceleration, -self.v / STEP_S)

    def _bodies(self) -> "_Bodies":
        at = [
            agent.path.at(np.array([s + agent.centre_m]))
            for agent, s in zip(self.agents, self.s, strict=True)
        ]
        xy = [pose[0][0] for pose in at]
        yaw = [float(pose[1][0]) for pose in at]
        owner = list(range(len(self.agents)))
        length, width = list(self.length), list(self.width)
        for i in self.tow:
            back, tail_length, tail_width = self.agents[i].tail or (0.0, 0.0, 0.0)
            tail_xy, tail_yaw = self.agents[i].path.at(np.array([self.s[i] - back]))
            xy.append(tail_xy[0])
            yaw.append(float(tail_yaw[0]))
            owner.append(i)
            length.append(tail_length)
            width.append(tail_width)
        speed = self.v[owner]
        walker = self.walker[owner]
        return _Bodies(
            np.array(xy),
            np.array(yaw),
            np.array(length),
            np.array(width),
            speed,
            walker,
            np.array(owner),
        )

    def _drive(self, i: int, street: Street, time_s: float, bodies: "_Bodies") -> float:
        agent, v = self.agents[i], float(self.v[i])
        half = agent.length_m / 2 + agent.centre_m
        ahead = np.arange(0.0, LOOK_AHEAD_M, LOOK_STEP_M)
        xy, yaw = agent.path.at(self.s[i] + agent.centre_m + ahead)
        limit = min(agent.speed_mps, self._curve_speed(i, ahead))
        best = ACCELERATION * (1.0 - (v / max(limit, 0.1)) ** 4)
        blocked = bodies.cover(xy, agent.width_m / 2 + SIDE_MARGIN_M) & (bodies.owner != i)[None]
        for k, j in zip(*np.nonzero(blocked & _first(blocked)[:, None]), strict=True):
            lead = float(bodies.speed[j] * np.cos(bodies.yaw[j] - yaw[k]))
            gap = float(ahead[k]) - agent.length_m / 2
            best = min(best, _follow(v, limit, gap, max(lead, 0.0)))
        for stop in agent.stops:
            gap = stop.s_m - float(self.s[i]) - half
            can_stop = gap > v * v / (2 * HARD_BRAKING)
            if 0 < gap < LOOK_AHEAD_M + 15.0 and can_stop:
                if not street.is_green(stop.junction, stop.movement, time_s):
                    best = min(best, _follow(v, limit, gap + MIN_GAP_M - 0.5, 0.0))
        return float(np.clip(best, -HARD_BRAKING, ACCELERATION))

    def _curve_speed(self, i: int, ahead: ndarray) -> float:
        """Speed now that allows every coming bend with comfortable braking."""
        path = self.agents[i].path
        k = np.clip(((self.s[i] + ahead) / 0.25).astype(int), 0, len(path.curvature) - 1)
        bend = np.sqrt(LATERAL_ACCELERATION / np.maximum(np.abs(path.curvature[k]), 1e-4))
        return float(np.sqrt(bend**2 + 2 * 0.7 * BRAKING * ahead).min())

    def _walk(self, i: int, time_s: float, bodies: "_Bodies") -> float:
        agent = self.agents[i]
        target = agent.speed_mps
        if any(begin <= time_s < end for begin, end in agent.pauses):
            target = 0.0
        if self.s[i] > agent.end_m - 0.5:
            target = 0.0
        wait = agent.wait_at_m
        if wait is not None and not self.released[i] and self.s[i] > wait - 0.8:
            self.released[i] = bodies.gap_for_walker(agent.path.at(np.array([wait]))[0][0])
            target = target if self.released[i] else 0.0
        return float(np.clip((target - self.v[i]) / 0.4, -1.5, 1.5))


def _follow(v: float, limit: float, gap_m: float, lead_mps: float) -> float:
    """Acceleration of the Intelligent Driver Model."""
    closing = v * (v - lead_mps) / (2 * np.sqrt(ACCELERATION * BRAKING))
    wanted = MIN_GAP_M + max(0.0, v * HEADWAY_S + closing)
    free = (v / max(limit, 0.1)) ** 4
    return float(ACCELERATION * (1.0 - free - (wanted / max(gap_m, 0.3)) ** 2))


def _first(blocked: ndarray) -> ndarray:
    """Mark the nearest blocked look-ahead point."""
    rows = blocked.any(axis=1)
    return np.asarray(rows & (np.cumsum(rows) == 1))


@dataclass(frozen=True)
class _Bodies:
    """Rectangles on the road at one instant."""

    xy: Float64[ndarray, "bodies 2"]
    yaw: Float64[ndarray, " bodies"]
    length: Float64[ndarray, " bodies"]
    width: Float64[ndarray, " bodies"]
    speed: Float64[ndarray, " bodies"]
    walker: Bool[ndarray, " bodies"]
    owner: ndarray

    def cover(self, points: ndarray, margin_m: float) -> Bool[ndarray, "points bodies"]:
        """Which rectangles, grown by a margin, hold which points; walkers reach ahead in time."""
        delta = points[:, None, :] - self.xy[None]
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        along = delta[..., 0] * cos + delta[..., 1] * sin
        across = np.abs(delta[..., 1] * cos - delta[..., 0] * sin)
        reach = np.where(self.walker, self.speed * WALKER_LOOK_S, 0.0)
        half = self.length / 2 + np.where(self.walker, margin_m, 0.5)
        inside = (along < half + reach) & (along > -half) & (across < self.width / 2 + margin_m)
        return np.asarray(inside)

    def gap_for_walker(self, at: ndarray) -> bool:
        """Whether no vehicle will come near x of a crossing within 4 s."""
        driving = ~self.walker
        delta = at[0] - self.xy[:, 0]
        closing = self.speed * np.cos(self.yaw)
        arrives = (delta * np.sign(closing) > -8.0) & (np.abs(delta) < 9.0 + np.abs(closing) * 4.0)
        on_street = np.abs(self.xy[:, 1]) < 12.0
        return not bool(np.any(driving & on_street & arrives & (np.abs(closing) > 0.3)))
