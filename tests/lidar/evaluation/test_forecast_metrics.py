import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lidar.evaluation.forecast_metrics import (
    BOX_4DOCC,
    CloudPair,
    MetricMeans,
    chamfer_m2,
    in_box,
    l1_4docc,
    ray_metrics,
)


def chamfer_direct(p: np.ndarray, g: np.ndarray) -> float:
    """CD(P, G) = 1/2 (mean_p min_g |p - g|^2 + mean_g min_p |g - p|^2), all pairs."""
    squared = ((p[:, None] - g[None]) ** 2).sum(-1)
    return float((squared.min(1).mean() + squared.min(0).mean()) / 2)


def l1_4docc_direct(p: np.ndarray, g: np.ndarray, origin: np.ndarray) -> tuple[float, float]:
    """Ray by ray: nearest (theta, phi), clamp both ends into the box, divide by all true rays."""
    p, g = p - origin, g - origin
    p = p[np.sqrt((p**2).sum(1)) > 1e-2]
    count = 0
    l1 = absrel = 0.0
    for true in g:
        length = np.sqrt((true**2).sum())
        if length <= 1e-2:
            continue
        count += 1
        angles = np.arctan2(true[0], true[1]), np.arctan2(true[2], true[1])
        apart = (np.arctan2(p[:, 0], p[:, 1]) - angles[0]) ** 2 + (
            np.arctan2(p[:, 2], p[:, 1]) - angles[1]
        ) ** 2
        predicted = np.sqrt((p[apart.argmin()] ** 2).sum())
        direction = true / length
        span = [0.0, np.inf]
        for axis in range(3):
            if direction[axis] != 0:
                faces = sorted(
                    (BOX_4DOCC[axis + side] - origin[axis]) / direction[axis] for side in (0, 3)
                )
                span = [max(span[0], faces[0]), min(span[1], faces[1])]
        if span[0] > span[1]:
            continue
        ends = [min(max(r, span[0]), span[1]) for r in (length, predicted)]
        if ends[0] - span[0] <= 1e-2:
            continue
        l1 += abs(ends[0] - ends[1])
        absrel += abs(ends[0] - ends[1]) / (ends[0] - span[0])
    return l1 / count, 100 * absrel / count


def clouds(seed: int, n: int = 150, m: int = 120) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scale = [60, 60, 4]
    return rng.normal(0, 1, (n, 3)) * scale, rng.normal(0, 1, (m, 3)) * scale


def test_ray_metrics_are_hand_computed() -> None:
    values = ray_metrics(np.array([2.0, 5.0, 9.0, 4.0]), np.array([1.0, 5.0, 10.0, 8.0]))
    assert values == {"l1_m": 1.5, "l1_median_m": 1.0, "absrel_pct": 100 * (1 + 0 + 0.1 + 0.5) / 4}


def test_chamfer_is_hand_computed_squared_and_halved() -> None:
    p, g = np.array([[0.0, 0, 0], [3, 0, 0]]), np.array([[0.0, 0, 1]])
    assert chamfer_m2(p, g) == pytest.approx(((1 + 10) / 2 + 1) / 2)


@pytest.mark.parametrize("seed", range(3))
def test_chamfer_equals_the_direct_double_loop(seed: int) -> None:
    p, g = clouds(seed)
    assert chamfer_m2(p, g) == pytest.approx(chamfer_direct(p, g), rel=1e-12)
    cropped = chamfer_direct(p[in_box(p, BOX_4DOCC)], g[in_box(g, BOX_4DOCC)])
    assert chamfer_m2(p, g, box=BOX_4DOCC) == pytest.approx(cropped, rel=1e-12)
    assert cropped != pytest.approx(chamfer_direct(p, g))


@pytest.mark.parametrize("seed", range(3))
def test_one_search_serves_every_crop(seed: int) -> None:
    p, g = clouds(seed)
    pair, rng = CloudPair(p, g), np.random.default_rng(seed)
    for share in (1.0, 0.5, 0.05):
        p_kept, g_kept = rng.random(len(p)) < share, rng.random(len(g)) < share
        expected = chamfer_direct(p[p_kept], g[g_kept])
        assert pair.chamfer_m2(p_kept, g_kept) == pytest.approx(expected, rel=1e-12)
    nothing = np.zeros(len(p), bool)
    assert pair.chamfer_m2(nothing, np.ones(len(g), bool)) is None


@pytest.mark.parametrize("origin", [(0, 0, 0), (10, -3, 0.5), (68, 0, 0), (75, 0, 0)])
def test_4docc_l1_equals_the_direct_transcription(origin: tuple[float, float, float]) -> None:
    p, g = clouds(4)
    g[0] = origin  # a ray without length is not counted
    place = np.array(origin, float)
    expected = l1_4docc_direct(p, g, place)
    values = l1_4docc(p, g, place)
    assert values["l1_4docc_m"] == pytest.approx(expected[0], rel=1e-12)
    assert values["absrel_4docc_pct"] == pytest.approx(expected[1], rel=1e-12)


def test_4docc_l1_of_the_same_rays_inside_the_box_is_the_ray_l1() -> None:
    rng = np.random.default_rng(0)
    azimuth = rng.uniform(-np.pi, np.pi, 200)
    direction = np.stack([np.cos(azimuth), np.sin(azimuth), rng.uniform(-0.1, 0.1, 200)], 1)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    measured, predicted = rng.uniform(2, 30, (2, 200))
    origin = np.array([1.0, 2.0, 0.0])
    values = l1_4docc(
        origin + direction * predicted[:, None], origin + direction * measured[:, None], origin
    )
    assert values["l1_4docc_m"] == pytest.approx(ray_metrics(predicted, measured)["l1_m"])


def test_4docc_clamps_both_ends_and_divides_by_every_true_ray() -> None:
    origin = np.zeros(3)
    true = np.array([[0.0, 100, 0], [0, 50, 0], [0, 0, 0]])
    predicted = np.array([[0.0, 90, 0]])
    # 100 and 90 both clamp to 70; 50 against 70 is 20; two rays are longer than 1e-2 m.
    assert l1_4docc(predicted, true, origin)["l1_4docc_m"] == pytest.approx(10.0)


def test_an_empty_crop_is_skipped_and_counted_and_zero_only_in_compat_mode() -> None:
    far, near = np.full((5, 3), 200.0), np.zeros((4, 3))
    for p, g in ((far, near), (near, far), (np.zeros((0, 3)), near)):
        assert chamfer_m2(p, g, box=BOX_4DOCC) is None
        assert chamfer_m2(p, g, box=BOX_4DOCC, compat=True) == 0.0
    means = MetricMeans()
    means.add({"nfcd_m2": chamfer_m2(far, near, box=BOX_4DOCC)})
    means.add({"nfcd_m2": 3.0})
    assert (means.means(), means.skipped) == ({"nfcd_m2": 3.0}, {"nfcd_m2": 1})


def test_no_ray_has_no_value() -> None:
    assert set(ray_metrics(np.zeros(0), np.zeros(0)).values()) == {None}
    assert l1_4docc(np.zeros((0, 3)), np.ones((2, 3)), np.zeros(3))["l1_4docc_m"] is None
    assert MetricMeans().means() == {}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_not_finite_raises(bad: float) -> None:
    with pytest.raises(ValueError, match="1 NaN or infinite values of 2"):
        ray_metrics(np.array([1.0, bad]), np.ones(2))
    cloud = np.array([[1.0, 2.0, bad]])
    with pytest.raises(ValueError, match="NaN or infinite"):
        chamfer_m2(cloud, np.ones((1, 3)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        l1_4docc(cloud, np.ones((1, 3)), np.zeros(3))


def test_merged_processes_equal_one() -> None:
    rng = np.random.default_rng(0)
    frames = [
        {"a": float(v), "b": None if i % 3 else float(v)} for i, v in enumerate(rng.random(9))
    ]
    one, first, second = MetricMeans(), MetricMeans(), MetricMeans()
    for i, values in enumerate(frames):
        one.add(values)
        (first if i < 4 else second).add(values)
    first.merge(second)
    assert first.means() == pytest.approx(one.means())
    assert (first.frames, first.skipped) == (one.frames, one.skipped)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**31),
    st.floats(-3.1, 3.1),
    st.tuples(st.floats(-100, 100), st.floats(-100, 100), st.floats(-5, 5)),
)
def test_chamfer_ignores_rigid_motion_order_and_sides(
    seed: int, yaw: float, shift: tuple[float, float, float]
) -> None:
    p, g = clouds(seed, 40, 30)
    expected = chamfer_m2(p, g)
    turn = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    moved = chamfer_m2(p @ turn.T + shift, g @ turn.T + shift)
    assert moved == pytest.approx(expected, rel=1e-9)
    rng = np.random.default_rng(seed)
    assert chamfer_m2(rng.permutation(p), rng.permutation(g)) == pytest.approx(expected)
    assert chamfer_m2(g, p) == pytest.approx(expected)
    assert chamfer_m2(p, p) == 0
