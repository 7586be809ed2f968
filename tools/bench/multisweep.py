"""Joining ten sweeps: `LogView.accumulated` against the devkit's from_file_multisweep.

    python tools/bench/multisweep.py [--turns 60] [--sweeps 1 10]

Same key frames, same files (in the page cache), one thread, in turn; outputs are compared first:
the same points in the same order, coordinates to 1e-3 m, times to 1e-6 s.
"""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timing

timing.one_thread()

import numpy as np  # noqa: E402

AIM = 3.0


def main() -> None:
    """Print the table."""
    parser = timing.parser(__doc__)
    parser.add_argument("--turns", type=int, default=60)
    parser.add_argument("--sweeps", type=int, nargs="+", default=[1, 10])
    options = parser.parse_args()
    timing.print_versions("numpy", "nuscenes-devkit")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        _open_and_compare(root, options.turns, options.sweeps)


def _open_and_compare(root: Path, turns: int, sweeps: list[int]) -> None:
    from nuscenes import NuScenes
    from nuscenes.utils.data_classes import LidarPointCloud
    from nuscenes_root import NUM_POINTS, VERSION, write_root

    from lidar.config import DataConfig
    from lidar.data.index import open_dataset

    write_root(root, scenes=1)
    devkit = NuScenes(VERSION, str(root), verbose=False)
    (log,) = open_dataset(DataConfig(root=str(root), version=VERSION)).logs.values()
    keys = [int(i) for i in np.flatnonzero(log.is_key) if i >= max(sweeps) - 1]
    print(f"{len(keys)} key frames in turn, {NUM_POINTS} points a sweep, {turns} turns")

    def ours(i: int, count: int) -> Any:
        return log.accumulated(i, count)

    def theirs(i: int, count: int) -> Any:
        return LidarPointCloud.from_file_multisweep(
            devkit, key_of[i], "LIDAR_TOP", "LIDAR_TOP", nsweeps=count
        )

    key_of = {}
    for row in devkit.sample_data:
        if row["channel"] == "LIDAR_TOP" and row["is_key_frame"]:
            sweep = int(np.searchsorted(log.timestamps_ns, row["timestamp"] * 1000))
            key_of[sweep] = devkit.get("sample", row["sample_token"])
    for count in sweeps:
        for i in keys[::8]:
            check(ours(i, count), *theirs(i, count))
        taken = timing.take_turns(
            {
                "devkit": _over_keys(keys, functools.partial(theirs, count=count)),
                "ours": _over_keys(keys, functools.partial(ours, count=count)),
            },
            turns,
            warm_up=3,
        )
        aim = AIM if count == max(sweeps) else None
        timing.print_ratio(f"{count} sweep(s)", "devkit", taken, aim=aim)


def check(joined: Any, cloud: Any, times: Any) -> None:
    """Both hold the same points."""
    np.testing.assert_allclose(joined.points[:, :4], cloud.points.T, atol=1e-3)
    np.testing.assert_allclose(joined.dt_s, times[0], atol=1e-6)


def _over_keys(keys: list[int], load: Callable[[int], Any]) -> Callable[[], timing.Seconds]:
    """Loads the next key frame at every call."""
    turn = iter(range(10**9))

    def step() -> timing.Seconds:
        i = keys[next(turn) % len(keys)]
        return timing.timed(lambda: load(i))

    return step


if __name__ == "__main__":
    main()
