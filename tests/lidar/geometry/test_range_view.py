import numpy as np
import pytest

from lidar.geometry.range_view import AngularBins, range_image, spherical, z_buffer


def test_spherical_angles_are_hand_computed() -> None:
    points = np.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, 0, 2], [1, -1, np.sqrt(2)]])
    azimuth, elevation, range_m = spherical(points)
    np.testing.assert_allclose(np.degrees(azimuth), [0, 90, 180, 0, -45], atol=1e-12)
    np.testing.assert_allclose(np.degrees(elevation), [0, 0, 0, 90, 45], atol=1e-12)
    np.testing.assert_allclose(range_m, [1, 1, 1, 2, 2])


def test_bins_cover_the_sphere_and_wrap() -> None:
    bins = AngularBins(90.0, 60.0)
    assert bins.shape == (4, 3)
    azimuth = np.radians([-180.0, -90.1, 0.0, 179.9, 180.0])
    elevation = np.radians([-90.0, 0.0, 29.9, 30.1, 90.0])
    assert bins.index(azimuth, elevation).tolist() == [0, 4, 6, 11, 8]
    assert AngularBins(0.2, 0.2).shape == (1800, 900)


@pytest.mark.parametrize("size", [(0.0, 1.0), (1.0, -1.0), (400.0, 1.0)])
def test_bins_must_be_positive(size: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="bins must be in"):
        AngularBins(*size)


def test_z_buffer_keeps_the_nearest_as_minimum_at_does() -> None:
    rng = np.random.default_rng(0)
    index, range_m = rng.integers(0, 50, 500), rng.uniform(1, 80, 500)
    expected = np.full(60, np.inf)
    np.minimum.at(expected, index, range_m)
    np.testing.assert_array_equal(z_buffer(index, range_m, 60), expected)
    assert np.isinf(z_buffer(np.zeros(0, np.int64), np.zeros(0), 3)).all()


def test_range_image_shows_left_on_the_left_and_the_nearest_on_top() -> None:
    points = np.array([[0.0, 5, 0], [0, -3, 0], [10, 0, 0.5], [4, 0, 0.2]])
    image = range_image(points, AngularBins(10.0, 10.0), elevation_deg=(-20.0, 20.0))
    assert image.shape == (4, 36)
    row = image[1]  # elevation 0..10 degrees
    (columns,) = np.nonzero(np.isfinite(row))
    np.testing.assert_allclose(row[columns], [5, np.hypot(4, 0.2), 3])
    assert np.isfinite(image).sum() == 3
    painted = range_image(
        points, AngularBins(10.0, 10.0), elevation_deg=(-20.0, 20.0), values=np.arange(4.0)
    )
    assert painted[1, columns].tolist() == [0, 3, 1]
