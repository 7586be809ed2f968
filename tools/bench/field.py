"""Speed of the field: fast path against the literal formulation, same outputs and gradients.

Run `python tools/bench/field.py` (`--help` for sizes). Both sides run alternately in one process;
the printed ratio is the median over the rounds of naive / fast, with its quartiles. Peak memory is
the growth of the resident set, each case in a fresh process.
"""

import argparse
import dataclasses
import multiprocessing
import platform
import resource
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from lidar.config import FieldConfig, RenderConfig, TrendConfig
from lidar.field import SceneFeatures
from lidar.geometry.voxel_grid import VoxelGrid, volume_centres
from lidar.objectives.range_rendering import RangeRendering
from lidar.objectives.targets import RayTargets
from lidar.rendering.lattice import Lattice

CHANNELS = 128
Implementation = Literal["fast", "naive"]


def build(implementation: Implementation, args: argparse.Namespace) -> RangeRendering:
    """The decoder at nuScenes size, the same weights for both implementations."""
    config = TrendConfig()
    width = args.width
    config = dataclasses.replace(
        config,
        field=dataclasses.replace(
            FieldConfig(), implementation=implementation, f_geo=[width, 64, 64]
        ),
        render=dataclasses.replace(RenderConfig(), chunk=args.chunk),
    )
    grid = VoxelGrid(config.point_range, config.voxel_size)
    centre_m, step_m, shape_dhw = volume_centres(grid, args.source)
    lattice = Lattice.build(
        "receptive_field", config.point_range, centre_m=centre_m, step_m=step_m, shape_dhw=shape_dhw
    )
    torch.manual_seed(0)
    return RangeRendering(config, CHANNELS, lattice=lattice, time=True).train()


def scene(args: argparse.Namespace) -> tuple[Tensor, RayTargets]:
    """A random volume and rays of a level spinning sensor."""
    generator = torch.Generator().manual_seed(1)
    depth = 5 if args.source == "x_conv4" else 2
    volume = torch.randn(args.batch, CHANNELS, depth, 180, 180, generator=generator)
    if args.layout == "channels_last":
        volume = volume.to(memory_format=torch.channels_last_3d)
    azimuth = torch.rand(args.batch, args.rays, generator=generator) * 2 * torch.pi
    elevation = (torch.rand(args.batch, args.rays, generator=generator) - 0.75) * 0.5
    direction = torch.stack(
        [
            azimuth.cos() * elevation.cos(),
            azimuth.sin() * elevation.cos(),
            elevation.sin(),
        ],
        dim=-1,
    )
    targets = RayTargets(
        ray_o=torch.zeros(args.batch, args.rays, 3),
        ray_d=direction,
        range_m=2 + 8 * torch.rand(args.batch, args.rays, generator=generator),
        intensity=torch.rand(args.batch, args.rays, generator=generator),
        valid=torch.ones(args.batch, args.rays, dtype=torch.bool),
        t_s=torch.full((args.batch,), 0.5),
        frame=torch.ones(args.batch, dtype=torch.long),
        seed=torch.arange(args.batch),
    )
    return volume, targets


def first_layer(model: RangeRendering, volume: Tensor, targets: RayTargets) -> Callable[[], Tensor]:
    """Interpolation and first layer, forward and backward."""
    field = model.field
    ranges = torch.linspace(1, 53, 48).expand(*targets.valid.shape, -1).contiguous()
    first = field._first_fast if field.fast else field._first_naive

    def run() -> Tensor:
        leaf = volume.detach().requires_grad_()
        prepared = field.prepare(SceneFeatures(leaf), targets.t_s)
        out = first(prepared, targets.ray_o, targets.ray_d, ranges)
        weight = next(field.f_geo.parameters())
        torch.autograd.grad(out.square().sum(), [leaf, weight])
        return out.detach()

    return run


def whole_step(model: RangeRendering, volume: Tensor, targets: RayTargets) -> Callable[[], Tensor]:
    """Sampling, field, rendering, losses and their gradients, volume and weights included."""

    def run() -> Tensor:
        leaf = volume.detach().requires_grad_()
        counts = model.counts(targets)
        total = model.frame_loss(SceneFeatures(leaf), targets, counts).total
        gradients = torch.autograd.grad(total, [leaf, *model.parameters()])
        return torch.cat([total.detach()[None], *(g.flatten() for g in gradients)])

    return run


def compare(
    name: str, naive: Callable[[], Tensor], fast: Callable[[], Tensor], rounds: int
) -> None:
    """Time both alternately; print medians, ratio with quartiles, and the relative difference."""
    a, b = naive(), fast()
    difference = float((a - b).norm() / a.norm())
    del a, b
    times: list[tuple[float, float]] = []
    for _ in range(rounds):
        times.append((seconds(naive), seconds(fast)))
    ratios = [slow / quick for slow, quick in times]
    low, _, high = statistics.quantiles(ratios, n=4)
    print(
        f"{name:42s} naive {statistics.median(t for t, _ in times):6.3f} s  "
        f"fast {statistics.median(t for _, t in times):6.3f} s  "
        f"ratio {statistics.median(ratios):5.2f} [{low:.2f}, {high:.2f}]  "
        f"difference {difference:.1e}",
        flush=True,
    )


def seconds(fn: Callable[[], Tensor]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    fn()
    return time.perf_counter() - start


def peak_mib(implementation: Implementation, args: argparse.Namespace) -> float:
    """Growth of the resident set during one step above its start, in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_growth_mib, (implementation, args))


def _growth_mib(implementation: Implementation, args: argparse.Namespace) -> float:
    torch.set_num_threads(args.threads)
    volume, targets = scene(args)
    run = whole_step(build(implementation, args), volume, targets)
    page = resource.getpagesize()
    statm = Path("/proc/self/statm")
    resident = [int(statm.read_text().split()[1]) * page]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            resident.append(int(statm.read_text().split()[1]) * page)

    watcher = threading.Thread(target=watch)
    watcher.start()
    run()
    done.set()
    watcher.join()
    return (max(resident) - resident[0]) / 2**20


def profile(args: argparse.Namespace) -> None:
    """Share of the operators of one fast step."""
    volume, targets = scene(args)
    run = whole_step(build("fast", args), volume, targets)
    run()
    with torch.profiler.profile() as recorded:
        run()
    print(recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=22))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rays", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--chunk", type=int, default=0)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--source", choices=["x_conv4", "conv_out"], default="x_conv4")
    parser.add_argument(
        "--layout", choices=["channels_first", "channels_last"], default="channels_first"
    )
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(
        f"torch {torch.__version__}, {platform.machine()}, {args.threads} thread(s), "
        f"{args.batch} x {args.rays} rays x 48 samples, {args.source}, "
        f"d1 {args.width}, {args.layout}, chunk {args.chunk}, {args.rounds} rounds"
    )
    if args.profile:
        profile(args)
        return
    volume, targets = scene(args)
    naive_model, fast_model = build("naive", args), build("fast", args)
    for name, case in (("interpolation + first layer", first_layer), ("whole step", whole_step)):
        compare(
            name,
            case(naive_model, volume, targets),
            case(fast_model, volume, targets),
            rounds=args.rounds,
        )
    naive, fast = peak_mib("naive", args), peak_mib("fast", args)
    print(
        f"peak memory of the step: naive {naive:.0f} MiB, fast {fast:.0f} MiB, {fast / naive:.2f}"
    )


if __name__ == "__main__":
    main()
