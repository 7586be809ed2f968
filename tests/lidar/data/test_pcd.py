"""The PCD reader on the original files of the real drive."""

import gzip

import numpy as np
import pytest

from foretell.errors import UserError
from lidar.data.kitti import read_points
from lidar.data.pcd import read_pcd

HEADER = (
    "# .PCD v0.7\nVERSION 0.7\nFIELDS x y z intensity ring\nSIZE 4 4 4 4 2\nTYPE F F F F U\n"
    "COUNT 1 1 1 1 1\nWIDTH 3\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS 3\nDATA binary\n"
)
RECORD = np.dtype([(name, "<f4") for name in ("x", "y", "z", "intensity")] + [("ring", "<u2")])


def test_original_sweeps_equal_the_unpacked_ones(test_data, kitti_drive):
    folder = test_data / "lidar" / "kitti_raw_seq" / "original"
    for i, path in enumerate(sorted(folder.glob("*.pcd.gz"))):
        points = read_pcd(path)
        sweep = kitti_drive / "sequences" / "00" / "velodyne" / f"{i:06d}.bin"
        np.testing.assert_array_equal(points, read_points(sweep))


def test_mixed_fields(tmp_path):
    table = np.zeros(3, RECORD)
    table["x"], table["ring"] = [1, 2, 3], [7, 8, 9]
    path = tmp_path / "a.pcd"
    path.write_bytes(HEADER.encode() + table.tobytes())
    np.testing.assert_array_equal(read_pcd(path, ("x", "ring")), [[1, 7], [2, 8], [3, 9]])
    (tmp_path / "a.pcd.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert read_pcd(tmp_path / "a.pcd.gz").shape == (3, 4)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"VERSION 0.7\nDATA ascii\n1 2 3\n", "is no PCD file with `DATA binary`"),
        (HEADER.encode() + b"\0" * 20, "truncated: its header promises 3 points"),
        (HEADER.replace("SIZE", "SIZES").encode(), "malformed PCD header"),
        (HEADER.replace("intensity", "i").encode() + b"\0" * 54, "has the fields x, y, z, i, ring"),
    ],
)
def test_damage(tmp_path, content, message):
    (tmp_path / "bad.pcd").write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_pcd(tmp_path / "bad.pcd")
