"""Opening a 40-scene nuScenes set: our index against the devkit's NuScenes().

    python tools/bench/nuscenes_index.py [--scenes 40] [--turns 7] [--root FOLDER]

Each opening is a fresh process, ours and the devkit's in turn; imports are not counted. Memory is
the peak of the resident set above that after the imports. "open and walk" also reads the times,
poses, key flags and boxes (in the sensor's frame, ours with velocities) of every sweep. The index
is written once; its price is printed too. Without --root a set is invented (`nuscenes_root.py`).
"""

import json
import statistics
import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timing

timing.one_thread()

AIM = 50.0
CASES = ("ours", "devkit")


def main() -> None:
    """Print the table, or be one opening."""
    parser = timing.parser(__doc__)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--root", type=Path, help="a nuScenes root of version v1.0-trainval")
    parser.add_argument("--child", choices=(*CASES, "prepare"), help="one opening, as JSON")
    args = parser.parse_args()
    if args.child:
        print(json.dumps(_opening(args.child, args.root)))
    elif args.root:
        _compare(args)
    else:
        from nuscenes_root import write_root

        with tempfile.TemporaryDirectory() as folder:
            args.root = Path(folder) / "root"
            write_root(args.root, scenes=args.scenes)
            _compare(args)


def _compare(args: Namespace) -> None:
    timing.print_versions("numpy", "nuscenes-devkit")
    tables = sum(path.stat().st_size for path in args.root.glob("v1.0-trainval/*.json"))
    prepared = _fresh("prepare", args)
    print(
        f"{prepared['scenes']} scenes, tables of {tables / timing.MIB:.0f} MiB; writing the index: "
        f"{prepared['open'][0]:.1f} s cpu, {prepared['open'][1]:.1f} s wall, "
        f"{prepared['growth_mib']:.0f} MiB, once"
    )
    taken: dict[str, list[dict[str, Any]]] = {case: [] for case in CASES}
    for _ in range(args.turns):
        for case in CASES:
            taken[case].append(_fresh(case, args))
    for part in ("open", "open and walk"):
        seconds = {case: [timing.Seconds(*run[part]) for run in taken[case]] for case in CASES}
        timing.print_ratio(part, "devkit", seconds, aim=AIM if part == "open" else None)
    for part, key in (("open", "open_growth_mib"), ("open and walk", "growth_mib")):
        theirs, ours = ([run[key] for run in taken[case]] for case in ("devkit", "ours"))
        ratio = statistics.median(theirs) / statistics.median(ours)
        print(
            f"memory of {part}: devkit {timing.show(theirs, digits=1)} MiB  "
            f"ours {timing.show(ours, digits=1)} MiB  ratio {ratio:.1f}"
            + (timing.verdict(ratio, AIM) if part == "open" else "")
        )


def _fresh(case: str, args: Namespace) -> dict[str, Any]:
    return timing.in_fresh_process(__file__, case, "--root", str(args.root))


def _opening(case: str, root: Path) -> dict[str, Any]:
    """Time and memory of one opening in this process."""
    run = {"ours": _ours, "devkit": _devkit, "prepare": _prepare}[case](root)
    with timing.peak_memory() as memory:
        watch = timing.Stopwatch()
        opened, walk = run()
        seconds = watch.read()
        open_growth_mib = max(memory.peak_mib, timing.resident_mib()) - memory.before_mib
        walk(opened)
        both = watch.read()
    return {
        "open": (seconds.cpu, seconds.wall),
        "open and walk": (both.cpu, both.wall),
        "open_growth_mib": open_growth_mib,
        "growth_mib": memory.growth_mib,
        "scenes": len(opened.scene if case == "devkit" else opened.logs),
    }


def _ours(root: Path) -> Callable[[], Any]:
    from lidar.config import DataConfig
    from lidar.data.index import open_index

    def walk(dataset: Any) -> None:
        for log in dataset.logs.values():
            assert len(log.timestamps_ns) == len(log.global_SE3_lidar) == len(log.is_key)
            for i in log.is_key.nonzero()[0]:
                assert log.boxes(i) is not None

    return lambda: (open_index(DataConfig(root=str(root))), walk)


def _devkit(root: Path) -> Callable[[], Any]:
    from nuscenes import NuScenes
    from nuscenes.utils.geometry_utils import transform_matrix
    from pyquaternion import Quaternion

    def walk(devkit: Any) -> None:
        for row in devkit.sample_data:
            if row["channel"] != "LIDAR_TOP":
                continue
            poses = [
                devkit.get("ego_pose", row["ego_pose_token"]),
                devkit.get("calibrated_sensor", row["calibrated_sensor_token"]),
            ]
            for pose in poses:
                transform_matrix(pose["translation"], Quaternion(pose["rotation"]))
            if row["is_key_frame"]:
                _, boxes, _ = devkit.get_sample_data(row["token"])
                assert boxes

    return lambda: (NuScenes("v1.0-trainval", str(root), verbose=False), walk)


def _prepare(root: Path) -> Callable[[], Any]:
    from lidar.config import DataConfig
    from lidar.data.index import prepare_index

    return lambda: (prepare_index(DataConfig(root=str(root))), lambda report: None)


if __name__ == "__main__":
    main()
