"""One simulated drive: build it, then take its sweeps one by one."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int16, Int32, Int64
from numpy import ndarray

from foretell.errors import UserError
from lidar.simulate.actors import Actor
from lidar.simulate.config import CLASSES, SimulateConfig
from lidar.simulate.ego import EgoMotion, GroundedEgo, own_car, plan_ego
from lidar.simulate.population import populate
from lidar.simulate.replay import read_replay
from lidar.simulate.returns import measure
from lidar.simulate.scanner import ActorPoses, Hits, Scanner
from lidar.simulate.sensor import LidarSensor, lidar_sensor
from lidar.simulate.world import World, build_world

BASE_TIME_US = 1_600_000_000_000_000
SCENE_SPACING_US = 3_600_000_000
_ABSENT_M = 1e4  # how far below the ground an actor is kept that is not there yet or any more


@dataclass(frozen=True)
class Truth:
    """What is exactly known about each point of a sweep."""

    actor: Int16[ndarray, " points"]
    """Number of the actor in the drive; -1 = static world, -2 = own car."""
    label: Int8[ndarray, " points"]
    """Class id (position in `CLASSES`), -1 = none."""
    static: Bool[ndarray, " points"]
    """Whether the surface stands still between this sweep and the next."""
    normal: Float32[ndarray, "points 3"]
    """Surface normal in the sensor frame, towards the sensor."""
    exact_range_m: Float32[ndarray, " points"]
    """Range without noise."""
    flow_m: Float32[ndarray, "points 3"]
    """Motion of the surface until the next sweep, the sensor's own motion taken out, in the axes
    of this sweep's sensor frame."""


@dataclass(frozen=True)
class Annotations:
    """Boxes of all actors at a sweep, in the world frame; M = actors."""

    centre: Float64[ndarray, "actors 3"]
    yaw: Float64[ndarray, " actors"]
    velocity: Float64[ndarray, "actors 2"]
    present: Bool[ndarray, " actors"]
    """Whether the actor is there at all; always, but for replayed logs."""
    num_points: Int32[ndarray, " actors"]
    """Points of the delivered sweep on the actor."""
    visibility: Int8[ndarray, " actors"]
    """1-4: unoccluded share of the rays 0-40, 40-60, 60-80, 80-100 %."""


@dataclass(frozen=True)
class SimulatedSweep:
    """One sweep with everything a writer may want."""

    index: int
    is_key: bool
    timestamp_us: int
    world_SE3_ego: Float64[ndarray, "4 4"]
    xyz: Float32[ndarray, "points 3"]
    """Sensor frame; with motion distortion that of each point's instant."""
    intensity: Float32[ndarray, " points"]
    """0-255, whole numbers."""
    ring: Int16[ndarray, " points"]
    point_time_s: Float32[ndarray, " points"]
    """Instant relative to the sweep time, <= 0; all 0 without motion distortion."""
    truth: Truth
    boxes: Annotations


@dataclass(frozen=True)
class Drive:
    """Everything of a drive that does not change from sweep to sweep."""

    sensor: LidarSensor
    world: World
    actors: list[Actor]
    ego: EgoMotion
    start_us: int
    offsets_us: tuple[int, ...]
    """Time of every sweep since `start_us`."""


def generator(seed: int, scene: int, *purpose: int) -> np.random.Generator:
    """Random numbers keyed by drive and purpose, whatever process draws them."""
    return np.random.default_rng([seed, scene, *purpose])


def build_drive(config: SimulateConfig, seed: int, scene: int) -> Drive:
    """Draw streets, traffic and the own car's route of one drive."""
    rng = generator(seed, scene, 0)
    if config.replay is not None:
        return _replayed(config, seed, rng)
    street, plan = plan_ego(config, scene, rng)
    world = build_world(street, config.slope, rng)
    track, actors = populate(config.num_actors, street, plan, config.duration_s, rng)
    return Drive(
        lidar_sensor(config.sensor),
        world,
        actors,
        GroundedEgo(track, world),
        BASE_TIME_US + scene * SCENE_SPACING_US,
        sweep_times_us(config, generator(seed, scene, 1)),
    )


def _replayed(config: SimulateConfig, seed: int, rng: np.random.Generator) -> Drive:
    replay = read_replay(Path(config.replay or ""), rng)
    offsets = sweep_times_us(config, generator(seed, 0, 1))
    inside = tuple(us for us in offsets if us * 1e-6 <= replay.duration_s)
    if not inside:
        raise UserError(
            f"replay: the boxes in {config.replay} span {replay.duration_s:g} s, less than one "
            f"sweep at sweep_hz = {config.sweep_hz:g}; raise --sweep_hz or give a longer log"
        )
    sensor = lidar_sensor(config.sensor)
    return Drive(sensor, replay.world, replay.actors, replay.ego, replay.start_us, inside)


def sweep_times_us(config: SimulateConfig, rng: np.random.Generator) -> tuple[int, ...]:
    """Whole microseconds of every sweep, the first after one sensor turn."""
    jitter = rng.normal(0.0, config.time_jitter_s, config.num_sweeps)
    jitter = np.clip(jitter, -3 * config.time_jitter_s, 3 * config.time_jitter_s)
    times = (np.arange(config.num_sweeps) + 1) / config.sweep_hz + jitter
    return tuple(int(round(float(time) * 1e6)) for time in times)


def sweeps(config: SimulateConfig, drive: Drive, seed: int, scene: int) -> Iterator[SimulatedSweep]:
    """All sweeps of a drive in order."""
    scanner = Scanner(
        drive.sensor,
        drive.world,
        drive.actors,
        max_range_m=config.max_range_m,
        own_car=own_car() if config.own_car else None,
    )
    for index in range(len(drive.offsets_us)):
        yield take_sweep(config, drive, scanner, seed, scene, index)


def take_sweep(
    config: SimulateConfig, drive: Drive, scanner: Scanner, seed: int, scene: int, index: int
) -> SimulatedSweep:
    """Cast, measure and annotate one sweep."""
    time_s = drive.offsets_us[index] * 1e-6
    column_s = drive.sensor.column_time_s() if config.motion_distortion else np.zeros(1)
    instants = time_s + column_s
    world_SE3_sensor = drive.ego.poses(instants) @ drive.sensor.ego_SE3_lidar
    poses = actor_poses(drive, instants)
    hits = scanner.scan(world_SE3_sensor, poses)
    returns = measure(
        hits,
        generator(seed, scene, 2, index),
        noise_m=config.noise_m,
        dropout=config.dropout,
        max_range_m=config.max_range_m,
    )
    kept = np.nonzero(returns.kept)[0]
    rings = drive.sensor.rings
    column = kept // rings if config.motion_distortion else np.zeros(len(kept), np.int64)
    truth = _truth(config, drive, hits, kept, column, instants, world_SE3_sensor, poses)
    return SimulatedSweep(
        index=index,
        is_key=index % config.key_every == 0,
        timestamp_us=drive.start_us + drive.offsets_us[index],
        world_SE3_ego=drive.ego.poses(np.array([time_s]))[0],
        xyz=hits.direction[kept] * returns.range_m[kept, None],
        intensity=returns.intensity[kept],
        ring=(kept % rings).astype(np.int16),
        point_time_s=column_s[column].astype(np.float32),
        truth=truth,
        boxes=_annotate(drive, time_s, hits, truth),
    )


def actor_poses(drive: Drive, instants: Float64[ndarray, " instants"]) -> ActorPoses:
    """World poses of all actors, standing on the slope."""
    poses = [actor.track.pose(instants) for actor in drive.actors]
    xyz = np.array([pose.xyz for pose in poses]).reshape(-1, len(instants), 3)
    xyz[..., 2] += drive.world.ground_z(xyz.reshape(-1, 3)[:, :2]).reshape(xyz.shape[:2])
    xyz[..., 2] -= np.where(_present(drive, instants), 0.0, _ABSENT_M)
    yaw = np.array([pose.yaw for pose in poses]).reshape(-1, len(instants))
    return ActorPoses(xyz, yaw)


def _present(drive: Drive, instants: ndarray) -> Bool[ndarray, "actors instants"]:
    """Which actors are there; a sweep's middle decides for all its columns."""
    life = np.array([actor.life_s for actor in drive.actors]).reshape(-1, 2)
    middle = float(instants.mean())
    there = (life[:, 0] <= middle) & (middle <= life[:, 1])
    return np.repeat(there[:, None], len(instants), axis=1)


def _truth(
    config: SimulateConfig,
    drive: Drive,
    hits: Hits,
    kept: ndarray,
    column: ndarray,
    instants: ndarray,
    world_SE3_sensor: ndarray,
    now: ActorPoses,
) -> Truth:
    actor = hits.actor[kept]
    labels = np.array([CLASSES.index(a.name) for a in drive.actors] + [-1, -1], np.int8)
    flow = np.zeros((len(kept), 3), np.float32)
    exact = hits.range_m[kept]
    later = actor_poses(drive, instants + 1.0 / config.sweep_hz)
    still = (np.abs(later.xyz - now.xyz).max(axis=(1, 2), initial=0.0) < 1e-9) & (
        np.abs(later.yaw - now.yaw).max(axis=1, initial=0.0) < 1e-9
    )
    moving = (actor >= 0) & ~np.append(still, [True, True])[actor]
    number, instant = actor[moving], column[moving]
    sensor = world_SE3_sensor[instant]
    local = (hits.direction[kept[moving]] * exact[moving, None]).astype(np.float64)
    point = np.einsum("nij,nj->ni", sensor[:, :3, :3], local) + sensor[:, :3, 3]
    arm = point - now.xyz[number, instant]
    turn = later.yaw[number, instant] - now.yaw[number, instant]
    cos, sin = np.cos(turn), np.sin(turn)
    turned = np.stack(
        [cos * arm[:, 0] - sin * arm[:, 1], sin * arm[:, 0] + cos * arm[:, 1], arm[:, 2]], axis=1
    )
    motion = later.xyz[number, instant] + turned - point
    flow[moving] = np.einsum("nji,nj->ni", sensor[:, :3, :3], motion)
    return Truth(actor.astype(np.int16), labels[actor], ~moving, hits.normal[kept], exact, flow)


def _annotate(drive: Drive, time_s: float, hits: Hits, truth: Truth) -> Annotations:
    instant = np.array([time_s])
    poses = actor_poses(drive, instant)
    actors = len(drive.actors)
    velocity = [actor.track.pose(instant).velocity[0] for actor in drive.actors]
    half_height = [actor.body.size_lwh[2] / 2 for actor in drive.actors]
    centre = poses.xyz[:, 0].copy()
    centre[:, 2] += half_height
    counted = truth.actor[truth.actor >= 0].astype(np.int64)
    seen = np.bincount(hits.actor[hits.actor >= 0], minlength=actors)
    return Annotations(
        centre,
        poses.yaw[:, 0],
        np.array(velocity).reshape(-1, 2),
        _present(drive, instant)[:, 0],
        np.bincount(counted, minlength=actors).astype(np.int32),
        visibility_level(seen, hits.alone),
    )


def visibility_level(
    seen: Int64[ndarray, " actors"], alone: Int64[ndarray, " actors"]
) -> Int8[ndarray, " actors"]:
    """1-4 for a share seen / alone below 0.4, 0.6, 0.8, or more; 1 where no ray could see it.

    Args:
        seen: Rays that meet each actor.
        alone: Rays that would meet it if it stood alone.
    """
    share = seen / np.maximum(alone, 1)
    return np.asarray(1 + np.digitize(share, [0.4, 0.6, 0.8]), np.int8)
