import lidar


def test_public_names_are_imported_when_used():
    from lidar.data.structures import Sweep

    assert lidar.Sweep is Sweep
    assert set(dir(lidar)) == set(lidar.__all__) == set(lidar._HOME)
    for name in lidar.__all__:
        assert getattr(lidar, name).__name__ == name
