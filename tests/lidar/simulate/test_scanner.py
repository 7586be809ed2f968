import numpy as np
import pytest

from lidar.geometry.se3 import se3
from lidar.simulate.actors import Actor
from lidar.simulate.bodies import MEAN_SIZE_M, Body, make_body
from lidar.simulate.materials import MATERIALS, intensity, material_id
from lidar.simulate.mesh import box
from lidar.simulate.returns import measure
from lidar.simulate.scanner import STATIC, ActorPoses, Scanner
from lidar.simulate.sensor import lidar_sensor
from lidar.simulate.tracks import StandingTrack
from lidar.simulate.world import World

WALL_X = 20.0


@pytest.fixture(scope="module")
def wall(open3d: object) -> World:
    mesh = box((WALL_X, WALL_X + 1.0), (-80.0, 80.0), (-5.0, 40.0), "concrete")
    return World(mesh, (0.0, 0.0))


def scan(world, actors, poses, *, sensor="small", instants=1):
    scanner = Scanner(lidar_sensor(sensor), world, actors, max_range_m=100.0)
    mount = np.tile(scanner.sensor.ego_SE3_lidar, (instants, 1, 1))
    return scanner.sensor, scanner.scan(mount, poses)


def standing(name: str, x: float, y: float, rng: np.random.Generator) -> Actor:
    return Actor(name, make_body(name, rng), StandingTrack((x, y, 0.0), 0.3))


def poses_of(actors: list[Actor], instants: int = 1) -> ActorPoses:
    poses = [actor.track.pose(np.zeros(instants)) for actor in actors]
    return ActorPoses(np.array([p.xyz for p in poses]), np.array([p.yaw for p in poses]))


NOBODY = ActorPoses(np.zeros((0, 1, 3)), np.zeros((0, 1)))


def test_wall_range_is_exact_and_noise_has_sigma(wall: World) -> None:
    sensor, hits = scan(wall, [], NOBODY, sensor="hdl32")
    forward = hits.direction @ sensor.flu_R_lidar.T[:, 0]
    met = np.isfinite(hits.range_m)
    assert met.sum() > 5000
    exact = (WALL_X - sensor.forward_m) / forward[met]
    np.testing.assert_allclose(hits.range_m[met], exact, atol=2e-4)
    rng = np.random.default_rng(0)
    noisy = measure(hits, rng, noise_m=0.02, dropout=0.0, max_range_m=100.0)
    assert noisy.kept.sum() == met.sum()
    error = noisy.range_m[met] - hits.range_m[met]
    assert abs(error.std() - 0.02) < 0.001
    assert abs(error.mean()) < 0.001


def test_normals_face_the_sensor(wall: World) -> None:
    sensor, hits = scan(wall, [], NOBODY)
    met = np.isfinite(hits.range_m)
    expected = np.array([-1.0, 0.0, 0.0]) @ sensor.flu_R_lidar
    np.testing.assert_allclose(hits.normal[met], np.tile(expected, (met.sum(), 1)), atol=1e-6)


def test_firing_order_is_column_after_column_from_the_lowest_ring() -> None:
    sensor = lidar_sensor("hdl32")
    direction = sensor.directions()
    assert direction.shape == (1084, 32, 3)
    elevation = np.degrees(np.arcsin(direction[..., 2]))
    np.testing.assert_allclose(elevation[:, 0], -30.67)
    np.testing.assert_allclose(elevation[:, -1], 10.67)
    assert np.all(np.diff(elevation, axis=1) > 0)
    azimuth = np.degrees(np.unwrap(np.arctan2(direction[:, 0, 1], direction[:, 0, 0])))
    np.testing.assert_allclose(np.diff(azimuth), -360.0 / 1084, atol=1e-9)
    time = sensor.column_time_s()
    np.testing.assert_allclose(time[[0, -1]], [-0.05 * (1 - 1 / 1084), 0.0])


@pytest.mark.parametrize("name", sorted(MEAN_SIZE_M))
def test_bodies_fill_their_boxes_and_stay_inside(name: str) -> None:
    rng = np.random.default_rng(3)
    for rider in (True, False):
        body = make_body(name, rng, rider=rider)
        low, high = body.mesh.vertices.min(0), body.mesh.vertices.max(0)
        half = np.array(body.size_lwh) / 2
        assert np.all(low[:2] >= -half[:2] - 1e-9) and np.all(high[:2] <= half[:2] + 1e-9)
        assert low[2] >= -1e-9 and high[2] <= body.size_lwh[2] + 1e-9
        assert np.all(high - low > 0.6 * np.array(body.size_lwh))


def test_nearest_actor_occludes_and_alone_counts_the_hidden_one(wall: World) -> None:
    rng = np.random.default_rng(1)
    bus, walker = standing("bus", 8.0, 0.0, rng), standing("pedestrian", 14.0, 0.0, rng)
    actors = [bus, walker]
    _, both = scan(wall, actors, poses_of(actors), sensor="hdl32")
    _, single = scan(wall, [walker], poses_of([walker]), sensor="hdl32")
    assert (both.actor == 0).sum() > 100
    assert both.alone[1] == single.alone[0] == (single.actor == 0).sum() > 0
    assert (both.actor == 1).sum() < 0.3 * both.alone[1]
    assert np.all(both.range_m <= scan(wall, [], NOBODY, sensor="hdl32")[1].range_m + 1e-6)


def test_one_instant_per_column_equals_one_for_all_when_nothing_moves(wall: World) -> None:
    rng = np.random.default_rng(2)
    actors = [standing("car", 9.0, -3.0, rng), standing("bicycle", 5.0, 4.0, rng)]
    _, once = scan(wall, actors, poses_of(actors))
    _, columns = scan(wall, actors, poses_of(actors, 360), instants=360)
    np.testing.assert_array_equal(once.actor, columns.actor)
    np.testing.assert_allclose(once.range_m, columns.range_m, rtol=1e-5)
    np.testing.assert_allclose(once.normal, columns.normal, atol=1e-5)


def test_motion_distortion_moves_points_by_the_time_of_their_column(wall: World) -> None:
    sensor = lidar_sensor("hdl32")
    scanner = Scanner(sensor, wall, [], max_range_m=100.0)
    x = 10.0 * sensor.column_time_s()  # 10 m/s forward
    moving = (
        se3(np.tile(np.eye(3), (len(x), 1, 1)), np.stack([x, 0 * x, 0 * x], axis=1))
        @ sensor.ego_SE3_lidar
    )
    hits = scanner.scan(moving, ActorPoses(np.zeros((0, len(x), 3)), np.zeros((0, len(x)))))
    met = np.nonzero(np.isfinite(hits.range_m))[0]
    forward = (hits.direction[met] @ sensor.flu_R_lidar.T)[:, 0] * hits.range_m[met]
    np.testing.assert_allclose(forward, WALL_X - 0.94 - x[met // 32], atol=1e-3)


def test_loss_grows_with_range_and_grazing_angle(wall: World) -> None:
    from lidar.simulate.returns import loss_probability

    _, hits = scan(wall, [], NOBODY, sensor="hdl32")
    met = np.isfinite(hits.range_m)
    p = loss_probability(hits, 0.02, 100.0)[met]
    order = np.argsort(hits.range_m[met])
    assert p[order[-200:]].mean() > 1.5 * p[order[:200]].mean()
    assert p.min() >= 0.02 and p.max() <= 1.0
    assert np.all(hits.actor[met] == STATIC)


def test_intensity_is_whole_tells_material_and_saturates() -> None:
    ids = np.array([material_id(name) for name in MATERIALS])
    at = np.full(len(ids), 10.0, np.float32)
    head_on = intensity(ids, np.ones(len(ids), np.float32), at)
    slanted = intensity(ids, np.full(len(ids), 0.3, np.float32), at)
    assert np.all(head_on == np.rint(head_on)) and head_on.max() == 255
    assert head_on[list(MATERIALS).index("retro")] == 255
    assert np.all(slanted <= head_on)
    assert len(np.unique(head_on)) > 10


def test_points_of_every_class_lie_in_their_box(wall: World) -> None:
    rng = np.random.default_rng(5)
    actors = [
        standing(name, 9.0 * np.cos(a) + 14 * np.cos(a), 23.0 * np.sin(a), rng)
        for name, a in zip(sorted(MEAN_SIZE_M), np.linspace(0.9, 5.4, 10), strict=True)
    ]
    poses = poses_of(actors)
    sensor, hits = scan(
        World(wall.mesh.moved(by=(70.0, 0.0, 0.0)), (0.0, 0.0)), actors, poses, sensor="hdl32"
    )
    mount = sensor.ego_SE3_lidar
    assert set(hits.actor[hits.actor >= 0]) == set(range(10))
    rays = np.nonzero(hits.actor >= 0)[0]
    exact = hits.range_m[rays].astype(np.float64)
    noise = rng.normal(0.0, 0.02, len(rays))
    for margin, ranges in ((1e-3, exact), (0.1, exact + noise)):
        point = (hits.direction[rays] * ranges[:, None]) @ mount[:3, :3].T + mount[:3, 3]
        inside = [
            _inside(p, actors[a].body, poses.xyz[a, 0], poses.yaw[a, 0], margin)
            for p, a in zip(point, hits.actor[rays], strict=True)
        ]
        assert np.mean(inside) > 0.999


def _inside(point, body: Body, xyz, yaw: float, margin: float) -> bool:
    d = point - xyz
    local = np.array(
        [np.cos(yaw) * d[0] + np.sin(yaw) * d[1], np.cos(yaw) * d[1] - np.sin(yaw) * d[0], d[2]]
    )
    length, width, height = body.size_lwh
    centre = local - [0, 0, height / 2]
    return bool(np.all(np.abs(centre) <= np.array([length, width, height]) / 2 + margin))
