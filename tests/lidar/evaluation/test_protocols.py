import numpy as np
import pytest

from foretell.errors import UserError
from lidar.evaluation.protocols import config_protocol, horizon_label, published_protocol

SIX = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]


def test_horizon_labels() -> None:
    assert [horizon_label(h) for h in (0.1, 0.5, 1.0, 0.30000000000000004)] == [
        "0.1s", "0.5s", "1.0s", "0.3s",
    ]  # fmt: skip


def test_config_reports_every_horizon_and_their_mean() -> None:
    protocol = config_protocol([0.5, 1.0], [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0])
    assert protocol.slices_of(0.5) == ("0.5s", "mean")
    assert protocol.slices_of(1.0) == ("1.0s", "mean")
    assert protocol.nfcd_box == (-54, -54, -5, 54, 54, 3)
    assert config_protocol([0.5], [0.0, 0.0, 0.0, 1.0, 1.0, 1.0], chamfer=False).metrics == (
        "rays",
    )


def test_a_pools_horizons_and_crops_nfcd_alone() -> None:
    protocol = published_protocol("a_1s", SIX)
    assert protocol.slices_of(0.5) == protocol.slices_of(1.0) == ("mean",)
    assert protocol.slices_of(1.5) == ()
    assert (protocol.nfcd_box, protocol.cd_box) == ((-70, -70, -4.5, 70, 70, 4.5), None)
    assert "1s, 2 sweeps in" in protocol.title
    assert len(published_protocol("a_3s", SIX).horizons_s) == 6


def test_a_leaves_out_the_own_car_of_nuscenes() -> None:
    protocol = published_protocol("a_1s", SIX)
    forward_left_up = np.array([[2.4, 0.7, 0], [-1.4, -0.7, 0], [2.6, 0, 0], [0, 0.9, 0]])
    assert protocol.keeps(forward_left_up).tolist() == [False, False, True, True]
    kitti = published_protocol("a_1s", [0.2, 0.4, 0.6, 0.8, 1.0], data_kind="kitti")
    assert kitti.keeps(forward_left_up).all()


def test_b_crops_both_clouds_and_keeps_horizons_apart() -> None:
    protocol = published_protocol("b", SIX)
    assert protocol.cd_box == (-51.2, -51.2, -5, 51.2, 51.2, 3)
    assert [protocol.slices_of(h) for h in SIX[:2]] == [("0.5s",), ("1.0s",)]


def test_missing_horizons_are_named() -> None:
    with pytest.raises(UserError, match=r"eval\.protocols a_3s .* lack \[1\.5, 2\.0, 2\.5, 3\.0\]"):
        published_protocol("a_3s", [0.5, 1.0])
