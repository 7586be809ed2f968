"""Where lanes, kerbs, crossings and junctions lie: one main street along x with side streets.

Traffic keeps right. Main street, from its middle outwards on either side: inner lane, outer lane,
cycle lane, parking lane, kerb, pavement, buildings. Side streets run along y with one lane each
way.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator

from lidar.simulate.paths import Path, lane_change, route

LANE_M = 3.5
INNER_M, OUTER_M, CYCLE_M, PARKING_M = 1.75, 5.25, 7.5, 10.0
"""abs(y) of the middle of each lane of the main street."""
KERB_M, PAVEMENT_M = 11.2, 16.2
"""abs(y) where the pavement begins and ends."""
SIDE_KERB_M, SIDE_PAVEMENT_M = 4.5, 8.0
"""abs(x - junction) of kerb and end of the pavement of a side street."""
STOP_M, SIDE_STOP_M = 10.0, 18.5
"""Distance of the stop lines from the middle of a junction, main and side street."""
CROSSING_M = 7.0
"""Distance of the pedestrian crossings from the middle of a junction, along x."""
SIDE_LENGTH_M = 130.0
RIGHT_RADIUS_M, LEFT_RADIUS_M = 6.0, 9.0

PHASES = (("main", 20.0), ("main_left", 5.0), ("side", 6.0))
"""Green phases of a junction in their order, each followed by `CLEAR_S` of red for all."""
CLEAR_S = 2.0
CYCLE_S = sum(length for _, length in PHASES) + CLEAR_S * len(PHASES)


@dataclass(frozen=True)
class Stop:
    """A stop line on a path: where, which junction's light, and the movement it serves."""

    s_m: float
    junction: int
    movement: str


@dataclass(frozen=True)
class Street:
    """One drive's streets."""

    x_min: float
    x_max: float
    junctions: tuple[float, ...]
    """x of each side street."""
    light_offset_s: tuple[float, ...]
    """Time since the start of each junction's cycle at t = 0."""
    work_x: float = 0.0
    """Middle of the work zone on the right of the main street."""

    def is_green(self, junction: int, movement: str, time_s: float) -> bool:
        """Whether a movement may pass a junction's stop line."""
        at = (time_s + self.light_offset_s[junction]) % CYCLE_S
        begin = 0.0
        for name, length in PHASES:
            if begin <= at < begin + length:
                return name == movement
            begin += length + CLEAR_S
        return False

    @property
    def crossings(self) -> tuple[float, ...]:
        """x where walkers cross the main street: both sides of junctions and between them."""
        beside = [at + side for at in self.junctions for side in (-CROSSING_M, CROSSING_M)]
        between = [(a + b) / 2 for a, b in zip(self.junctions, self.junctions[1:], strict=False)]
        return tuple(sorted(beside + between))

    def near_crossing(self, x: float, margin_m: float) -> bool:
        """Whether x lies within a margin of a pedestrian crossing."""
        return any(abs(x - crossing) < margin_m for crossing in self.crossings)

    def near_junction(self, x: float, margin_m: float) -> bool:
        """Whether x lies within a margin of a side street."""
        return any(abs(x - junction) < margin_m for junction in self.junctions)

    def main_lane(self, x: float, lateral_m: float, forward: bool) -> tuple[Path, list[Stop]]:
        """Straight on along the main street; `forward` is +x."""
        if not forward:
            path, stops = self._mirror().main_lane(-x, lateral_m, True)
            return path.turned((0.0, 0.0)), self._mirrored(stops)
        path = route((x, -lateral_m), 0.0, [(self.x_max - x + 200.0, 0.0)])
        return path, self._main_stops(x, "main")

    def main_lane_change(
        self, x: float, lateral_m: float, to_lateral_m: float, begin_m: float, forward: bool
    ) -> tuple[Path, list[Stop]]:
        """Along the main street with a change of lane after `begin_m`."""
        if not forward:
            mirror = self._mirror()
            path, stops = mirror.main_lane_change(-x, lateral_m, to_lateral_m, begin_m, True)
            return path.turned((0.0, 0.0)), self._mirrored(stops)
        total = self.x_max - x + 200.0
        offset = lateral_m - to_lateral_m
        path = lane_change((x, -lateral_m), 0.0, total, begin_m, 35.0, offset)
        return path, self._main_stops(x, "main")

    def turn(self, x: float, junction: int, left: bool, forward: bool) -> tuple[Path, list[Stop]]:
        """Into a side street: right from the outer, left from the inner lane."""
        if not forward:
            mirror = self._mirror()
            path, stops = mirror.turn(-x, len(self.junctions) - 1 - junction, left, True)
            return path.turned((0.0, 0.0)), self._mirrored(stops)
        at = self.junctions[junction]
        radius = LEFT_RADIUS_M if left else RIGHT_RADIUS_M
        lane = INNER_M if left else OUTER_M
        exit_x = at + (LANE_M / 2 if left else -LANE_M / 2)
        bend = (1.0 if left else -1.0) / radius
        pieces = [(exit_x - radius - x, 0.0), (radius * np.pi / 2, bend), (SIDE_LENGTH_M, 0.0)]
        stops = self._main_stops(x, "main", until=junction)
        stops = [
            Stop(s.s_m, s.junction, "main_left") if left and s.junction == junction else s
            for s in stops
        ]
        return route((x, -lane), 0.0, pieces), stops

    def side_lane(self, junction: int, y: float, forward: bool) -> tuple[Path, list[Stop]]:
        """Straight on along a side street; `forward` is +y."""
        at = self.junctions[junction]
        path = route((at + LANE_M / 2, y if forward else -y), np.pi / 2, [(2 * SIDE_LENGTH_M, 0.0)])
        begin = y if forward else -y
        stops = [Stop(-SIDE_STOP_M - begin, junction, "side")]
        stops = [stop for stop in stops if stop.s_m > 0]
        return (path if forward else path.turned((at, 0.0))), stops

    def _main_stops(self, x: float, movement: str, until: int | None = None) -> list[Stop]:
        junctions = self.junctions if until is None else self.junctions[: until + 1]
        stops = [Stop(at - STOP_M - x, i, movement) for i, at in enumerate(junctions)]
        return [stop for stop in stops if stop.s_m > 0]

    def _mirror(self) -> "Street":
        """The street seen from the other direction: turned by 180 degrees about the origin."""
        return Street(
            -self.x_max,
            -self.x_min,
            tuple(-x for x in reversed(self.junctions)),
            tuple(reversed(self.light_offset_s)),
            -self.work_x,
        )

    def _mirrored(self, stops: list[Stop]) -> list[Stop]:
        last = len(self.junctions) - 1
        return [Stop(stop.s_m, last - stop.junction, stop.movement) for stop in stops]


def make_street(
    speed_mps: float,
    duration_s: float,
    rng: Generator,
    *,
    first_light: Literal["green", "arrow", "red"] = "green",
) -> Street:
    """Draw side streets every 80 to 110 m and the phases of their lights.

    Args:
        speed_mps: Speed of the own car, which passes x = 0 at t = 0.
        duration_s: Length of the drive.
        rng: Draws junctions and lights.
        first_light: What the own car meets at the first junction ahead: green, green for turning
            left, or red that soon turns green. Three of four later ones are green on arrival.
    """
    x_min, x_max = -140.0, speed_mps * duration_s + 140.0
    first = float(rng.uniform(38.0, 60.0))
    ahead = [first]
    while ahead[-1] < x_max - 60.0:
        ahead.append(ahead[-1] + float(rng.uniform(80.0, 110.0)))
    junctions = [first - float(rng.uniform(85.0, 110.0)), *ahead[:-1]]
    offsets = []
    for number, at in enumerate(junctions):
        arrival = (at - STOP_M) / speed_mps
        phase = float(rng.uniform(2.0, 10.0))
        if number == 1 and first_light == "arrow":
            phase = PHASES[0][1] + CLEAR_S + 1.0
        elif number == 1 and first_light == "red":
            phase = -float(rng.uniform(1.0, 5.0))
        elif number != 1 and rng.random() > 0.75:
            phase = float(rng.uniform(0.0, CYCLE_S))
        offsets.append(phase - arrival)
    later = rng.random() < 0.5 and speed_mps * duration_s > first + 28.0
    work_x = first + 28.0 if later else 12.0
    return Street(x_min, x_max, tuple(junctions), tuple(offsets), work_x)
