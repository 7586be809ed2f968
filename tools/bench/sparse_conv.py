"""Sparse convolution of ours against spconv and dense conv3d, peers taking turns in one run.

    python tools/bench/sparse_conv.py [--data FOLDER] [--spconv FOLDER] [--channels 16 32 64]

`--data` is the folder of sample sweeps (default $FORETELL_TEST_DATA); without it only the synthetic
clouds run. `--spconv` is a folder made by
`pip install --no-deps --target FOLDER spconv cumm pccm ccimport pybind11 fire portalocker lark`.
spconv's CPU backward calls torch.cuda.current_stream although it does not use it; a stub stands in
here, so that it can be timed at all. Ratios are peer / ours turn by turn, CPU time; above 1 ours is
faster. Only ratios of one run mean anything on a shared machine. Dense conv3d runs on the small
grid at the smallest width. With spconv the last lines hold the slowest row against it: the bar is
at most twice its time everywhere, the aim not to be slower at 32 and 64 channels.
"""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timing

timing.one_thread()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from twins import Graph, report  # noqa: E402

from lidar.geometry.voxel_grid import VoxelGrid, voxelise_mean  # noqa: E402
from lidar.sparse.kernel_map import submanifold_map  # noqa: E402
from lidar.sparse.layers import SubMConv3d  # noqa: E402
from lidar.sparse.sites import Sites  # noqa: E402
from lidar.sparse.tensor import SparseTensor  # noqa: E402

DENSE_CELLS = 1_000_000
"""Largest grid that dense conv3d is given."""
AIMED_CHANNELS = (32, 64)
"""Widths at which ours should not be slower than spconv."""


def main() -> None:
    """Print the table."""
    parser = timing.parser(__doc__)
    parser.add_argument("--data", default=os.environ.get("FORETELL_TEST_DATA"))
    parser.add_argument("--spconv", help="folder with spconv and cumm")
    parser.add_argument("--channels", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--repeats", type=int, default=21)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    spconv = _import_spconv(args.spconv)
    timing.print_versions("torch", "numpy")
    print(f"spconv {spconv.__version__ if spconv else 'not given'}, {args.repeats} turns")
    print("3x3x3 submanifold convolution, cpu ms: median [quartiles]; ratio = peer / ours")
    against: dict[str, float] = {}  # spconv / ours of every row
    aimed: dict[str, float] = {}
    for name, coords, shape in _clouds(args.data):
        sites = Sites(coords, shape, 1)
        pairs = len(submanifold_map(sites, (3, 3, 3)).in_rows) / len(coords)
        print(f"\n{name}: {len(coords)} voxels, {pairs:.1f} pairs per voxel, grid {shape}")
        dense = shape[0] * shape[1] * shape[2] <= DENSE_CELLS
        ratios = timing.print_turns(
            "kernel map", timing.take_turns(_map_steps(coords, shape, spconv), args.repeats)
        )
        if spconv:
            against[f"{name}, kernel map"] = ratios["spconv"]
        for channels in args.channels:
            graphs = _convolutions(
                coords, shape, channels, spconv, dense and channels == min(args.channels)
            )
            label = f"C={channels}"
            passes = report(label, graphs, args.repeats, parts=["forward", "backward"])
            if spconv:
                rows = {f"{name}, {label} {part}": r["spconv"] for part, r in passes.items()}
                against |= rows
                aimed |= rows if channels in AIMED_CHANNELS else {}
    if spconv:
        print()
        _print_slowest("all rows", against)
        _print_slowest(f"rows of {' and '.join(map(str, AIMED_CHANNELS))} channels", aimed)


def _print_slowest(which: str, ratios: dict[str, float]) -> None:
    """The row where ours is slowest against spconv."""
    row = min(ratios, key=ratios.__getitem__, default=None)
    if row is not None:
        print(f"slowest of {which}: ours / spconv {1 / ratios[row]:.2f} ({row})")


def _map_steps(
    coords: Tensor, shape: tuple[int, int, int], spconv: Any
) -> dict[str, Callable[[], timing.Seconds]]:
    def ours() -> None:
        submanifold_map(Sites(coords, shape, 1), (3, 3, 3)).tiles(inverse=False)

    steps = {"ours": functools.partial(timing.timed, ours)}
    if spconv:
        from spconv.pytorch import ops

        def theirs() -> None:
            ones = [1, 1, 1]
            ops.get_indice_pairs(
                coords, 1, list(shape), spconv.ConvAlgo.Native, [3] * 3, ones, ones, ones,
                [0] * 3, True,
            )  # fmt: skip

        steps["spconv"] = functools.partial(timing.timed, theirs)
    return steps


def _convolutions(
    coords: Tensor, shape: tuple[int, int, int], channels: int, spconv: Any, dense: bool
) -> dict[str, Graph]:
    feats = torch.randn(len(coords), channels, requires_grad=True)
    layer = SubMConv3d(channels, channels, bias=False)
    ours = SparseTensor(coords, feats, shape, 1)
    graphs = {"ours": Graph(lambda: layer(ours).feats, [feats, layer.weight])}
    if spconv:
        peer = spconv.SubMConv3d(
            channels, channels, 3, bias=False, indice_key="key", algo=spconv.ConvAlgo.Native
        )
        with torch.no_grad():
            peer.weight.copy_(layer.weight)
        theirs = spconv.SparseConvTensor(feats, coords, list(shape), 1)
        theirs.indice_dict = peer(theirs).indice_dict  # the timed calls reuse its map
        graphs["spconv"] = Graph(lambda: peer(theirs).features, [feats, peer.weight])
        _check(graphs["ours"], graphs["spconv"])
    if dense:
        volume = ours.dense().detach().requires_grad_()
        kernel = layer.weight.detach().permute(0, 4, 1, 2, 3).contiguous().requires_grad_()
        graphs["conv3d"] = Graph(
            lambda: torch.nn.functional.conv3d(volume, kernel, padding=1), [volume, kernel]
        )
        at_sites = (
            graphs["conv3d"].forward().detach()[0].permute(1, 2, 3, 0)[*coords[:, 1:].long().T]
        )
        torch.testing.assert_close(at_sites, layer(ours).feats.detach(), rtol=1e-4, atol=1e-4)
    return graphs


def _check(ours: Graph, peer: Graph) -> None:
    """Our numbers must be the peer's before their times are compared."""
    for mine, theirs in zip(ours.results(), peer.results(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def _clouds(data: str | None) -> list[tuple[str, Tensor, tuple[int, int, int]]]:
    clouds = [
        ("synthetic streets", _streets(200_000, 50.0), [-51.2, -51.2, -2, 51.2, 51.2, 4]),
        ("synthetic, small grid", _streets(10_000, 6.4), [-6.4, -6.4, -2, 6.4, 6.4, 4]),
    ]
    sizes = [[0.1, 0.1, 0.15]] * 2
    for path in sorted(Path(data).rglob("*.feather")) if data else []:
        if path.parent.name == "lidar":
            import pyarrow.feather

            table = pyarrow.feather.read_table(path, columns=["x", "y", "z"])
            xyz = np.stack([column.to_numpy() for column in table.columns], 1)
            clouds.append(("AV2 sweep", xyz, [-75.2, -75.2, -2, 75.2, 75.2, 4]))
            sizes.append([0.1, 0.1, 0.15])
            break
    sweeps = sorted(Path(data).rglob("*.pcd.bin"), key=lambda p: -p.stat().st_size) if data else []
    if sweeps:
        xyz = np.fromfile(sweeps[0], np.float32).reshape(-1, 5)[:, :3]
        shifted = [xyz + np.array([0.13 * i, 0.62 * i, 0.0], np.float32) for i in range(10)]
        box = [-54.0, -54.0, -5.0, 54.0, 54.0, 3.0]
        clouds += [
            ("nuScenes sweep", xyz, box),
            ("nuScenes sweep, ten shifted copies", np.concatenate(shifted), box),
        ]
        sizes += [[0.075, 0.075, 0.2]] * 2
    result = []
    for (name, xyz, box), size in zip(clouds, sizes, strict=True):
        grid = VoxelGrid(box, size)
        points = torch.from_numpy(np.ascontiguousarray(xyz, dtype=np.float32))
        coords, _ = voxelise_mean(points, torch.zeros(len(points), dtype=torch.long), grid)
        result.append((name, coords, grid.sparse_shape_zyx))
    return result


def _streets(num_points: int, extent_m: float) -> np.ndarray:
    """Ground, thinning with distance, and walls."""
    rng = np.random.default_rng(0)
    half = num_points // 2
    radius = extent_m * rng.random(half) ** 1.5
    angle = rng.uniform(0, 2 * np.pi, half)
    bumps = 0.02 * rng.standard_normal(half)
    ground = np.stack([radius * np.cos(angle), radius * np.sin(angle), -1.8 + bumps], 1)
    along = rng.uniform(-extent_m, extent_m, num_points - half)
    side = rng.choice([-0.8, -0.3, 0.35, 0.75], num_points - half) * extent_m
    height = rng.uniform(-1.8, 3.0, num_points - half)
    walls = np.stack([along, side, height], 1)
    walls[::2, :2] = walls[::2, 1::-1]
    streets: np.ndarray = np.concatenate([ground, walls]).astype(np.float32)
    return streets


def _import_spconv(folder: str | None) -> Any:
    if folder is None:
        return None
    sys.path.insert(0, folder)
    import spconv
    import spconv.pytorch
    from spconv.pytorch import ops

    ops.get_current_stream = lambda: 0
    spconv.pytorch.__version__ = spconv.__version__
    return spconv.pytorch


if __name__ == "__main__":
    main()
