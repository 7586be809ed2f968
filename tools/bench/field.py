"""Speed and memory of the field: fast path against the literal one, same outputs and gradients.

    python tools/bench/field.py [--rays 4096] [--rounds 20] [--widths 32 64 128]

A random volume of nuScenes size and rays of a level spinning sensor. Contestants take turns in one
process, CPU time; ratios are contestant / ours turn by turn, so above 1 ours is faster. Peak memory
is the growth of the resident set over a first step, each case in a fresh process. Three parts:
`interpolation` is grid_sample against the gather of eight corners for d1 channels, each from the
layout it needs, alone and with the first layer of d1 outputs; `whole step` is sampling, field,
rendering, losses and all gradients; `chunk` renders 12,288 rays in chunks (no split into passes:
chunks run both).
"""

import argparse
import dataclasses
import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import timing

timing.one_thread()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from twins import Graph, difference, print_difference, report  # noqa: E402

from lidar.config import FieldConfig, RenderConfig, TrendConfig  # noqa: E402
from lidar.field import SceneFeatures  # noqa: E402
from lidar.geometry.voxel_grid import VoxelGrid, volume_centres  # noqa: E402
from lidar.objectives.range_rendering import RangeRendering  # noqa: E402
from lidar.objectives.targets import RayTargets  # noqa: E402
from lidar.rendering.interpolation import (  # noqa: E402
    cell_rows,
    corner_rows,
    gather_corners,
    interpolate,
)
from lidar.rendering.lattice import Lattice  # noqa: E402

CHANNELS, SAMPLES = 128, 48
Source = Literal["x_conv4", "conv_out"]


@dataclass(frozen=True)
class Setting:
    """One case."""

    rays: int
    batch: int = 1
    source: Source = "x_conv4"
    voxel_m: float = 0.075
    width: int = 64
    chunk: int = 0
    implementation: str = "fast"
    dtype: torch.dtype = torch.float32


def decoder(setting: Setting) -> RangeRendering:
    """The decoder, the same weights for both implementations."""
    config = TrendConfig(voxel_size=[setting.voxel_m, setting.voxel_m, 0.2])
    config = dataclasses.replace(
        config,
        field=FieldConfig(implementation=setting.implementation, f_geo=[setting.width, 64, 64]),
        render=RenderConfig(chunk=setting.chunk),
    )
    grid = VoxelGrid(config.point_range, config.voxel_size)
    centre_m, step_m, shape_dhw = volume_centres(grid, setting.source)
    lattice = Lattice.build(
        "receptive_field", config.point_range, centre_m=centre_m, step_m=step_m, shape_dhw=shape_dhw
    )
    torch.manual_seed(0)
    model = RangeRendering(config, CHANNELS, lattice=lattice, time=True)
    return model.to(setting.dtype).train()


def random_volume(setting: Setting, model: RangeRendering, channels: int = CHANNELS) -> Tensor:
    """Features of every cell, a leaf."""
    shape = (setting.batch, channels, *model.field.lattice.shape_dhw)
    volume = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    return volume.to(setting.dtype).requires_grad_()


def rays(setting: Setting) -> RayTargets:
    """What a level spinning sensor measured."""
    generator = torch.Generator().manual_seed(2)

    def draw() -> Tensor:
        return torch.rand(setting.batch, setting.rays, generator=generator).to(setting.dtype)

    azimuth, elevation = draw() * 2 * torch.pi, (draw() - 0.75) * 0.5
    flat = elevation.cos()
    direction = torch.stack([azimuth.cos() * flat, azimuth.sin() * flat, elevation.sin()], dim=-1)
    return RayTargets(
        ray_o=torch.zeros_like(direction),
        ray_d=direction,
        range_m=2 + 8 * draw(),
        intensity=draw(),
        valid=torch.ones(setting.batch, setting.rays, dtype=torch.bool),
        t_s=torch.full((setting.batch,), 0.5, dtype=setting.dtype),
        frame=torch.ones(setting.batch, dtype=torch.long),
        seed=torch.arange(setting.batch),
    )


def sample_ranges(targets: RayTargets) -> Tensor:
    """Evenly spaced ranges."""
    ranges = torch.linspace(1, 53, SAMPLES, dtype=targets.range_m.dtype)
    return ranges.expand(*targets.valid.shape, -1).contiguous()


def interpolation(setting: Setting) -> Graph:
    """d1 channels at every sample: grid_sample, or the gather of eight corners from rows."""
    model, targets = decoder(setting), rays(setting)
    volume = random_volume(setting, model, setting.width)
    if setting.implementation == "fast":  # as the projection of the field leaves it
        volume = volume.detach().to(memory_format=torch.channels_last_3d).requires_grad_()
    points = sample_ranges(targets)[..., None] * targets.ray_d[:, :, None]
    index = model.field.lattice.index(points)

    def fast() -> Tensor:
        rows, weights = corner_rows(index, model.field.lattice.shape_dhw)
        return gather_corners(cell_rows(volume), rows, weights)

    def naive() -> Tensor:
        return interpolate(volume, index).flatten(0, 2)

    return Graph(fast if setting.implementation == "fast" else naive, [volume])


def first_layer(setting: Setting) -> Graph:
    """Interpolation of 128 channels and the first layer, d1 outputs."""
    model, targets = decoder(setting), rays(setting)
    field, volume, ranges = model.field, random_volume(setting, model), sample_ranges(targets)
    first = field._first_fast if field.fast else field._first_naive

    def forward() -> Tensor:
        prepared = field.prepare(SceneFeatures(volume), targets.t_s)
        return first(prepared, targets.ray_o, targets.ray_d, ranges)

    return Graph(forward, [volume, *field.f_geo[0].parameters()])


def whole_step(setting: Setting, *, bf16: bool = False, compiled: bool = False) -> Graph:
    """Sampling, field, rendering and losses.

    Args:
        setting: Sizes.
        bf16: Under autocast.
        compiled: The field's query by torch.compile.
    """
    model, targets = decoder(setting), rays(setting)
    volume, counts = random_volume(setting, model), model.counts(targets)
    if compiled:
        model.field.query = torch.compile(model.field.query)

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model.frame_loss(SceneFeatures(volume), targets, counts).total

    return Graph(forward, [volume, *model.parameters()])


def growth_mib(setting: Setting) -> float:
    """Peak memory of one step above its start; run in a fresh process."""
    graph = whole_step(setting)
    with timing.peak_memory() as memory:
        graph.passes()
    return memory.growth_mib


def compare(label: str, case: Callable[[Setting], Graph], setting: Setting, rounds: int) -> None:
    """Print the times of both passes of fast and naive, and their difference."""

    def build(implementation: str, dtype: torch.dtype) -> Graph:
        return case(dataclasses.replace(setting, implementation=implementation, dtype=dtype))

    print_difference(label, build)
    graphs = {"ours": build("fast", torch.float32), "naive": build("naive", torch.float32)}
    report(label, graphs, rounds)


def compare_types(setting: Setting, rounds: int, few: int) -> None:
    """Print the whole step in float32 (`rounds`), in bf16 and compiled (`few`)."""
    naive = dataclasses.replace(setting, implementation="naive")
    plain = whole_step(setting)
    report("whole step, float32", {"ours": plain, "naive": whole_step(naive)}, rounds)
    for label, bf16 in (("whole step, bf16", True), ("whole step, compiled", False)):
        ours, theirs = (whole_step(each, bf16=bf16, compiled=not bf16) for each in (setting, naive))
        for name, graph in (("ours", ours), ("naive", theirs)):
            print(f"  {label}: {name} differs from float32 by {difference(graph, plain):.1e}")
        report(label, {"ours": ours, "naive": theirs, "ours float32": plain}, few)
    print("  TF32 exists on GPUs alone: not run")


def compare_chunk(setting: Setting, rounds: int) -> None:
    """Print time and peak memory of rendering in chunks."""
    naive = dataclasses.replace(setting, implementation="naive")
    label = f"{setting.rays} rays, chunk {setting.chunk}"
    report(label, {"ours": whole_step(setting), "naive": whole_step(naive)}, rounds, parts=["both"])
    ours, theirs = (_memory(each) for each in (setting, naive))
    print(
        f"  {label} peak memory: ours {ours:.0f} MiB | naive {theirs:.0f} MiB, "
        f"ours / naive {ours / theirs:.2f}",
        flush=True,
    )


def _memory(setting: Setting) -> float:
    given = {k: v for k, v in dataclasses.asdict(setting).items() if k != "dtype"}
    growth: float = timing.in_fresh_process(__file__, json.dumps(given))["growth_mib"]
    return growth


def main() -> None:
    """Print the table, or be one case."""
    parser = timing.parser(__doc__)
    parser.add_argument("--rays", type=int, default=4096)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--source", choices=["x_conv4", "conv_out"], default="x_conv4")
    parser.add_argument("--voxel-m", type=float, default=0.075, help="0.075: a volume of 180 x 180")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--widths", type=int, nargs="*", default=[32, 64, 128])
    parser.add_argument("--chunks", type=int, nargs="*", default=[1024, 4096, 12288])
    parser.add_argument("--chunk-rays", type=int, default=12288)
    parser.add_argument("--few", type=int, default=5, help="rounds of bf16, compiled and chunks")
    parser.add_argument("--child", help="one case, as JSON")
    args = parser.parse_args()
    if args.child:
        print(json.dumps({"growth_mib": growth_mib(Setting(**json.loads(args.child)))}))
        return
    _print_table(args)


def _print_table(args: argparse.Namespace) -> None:
    make: Any = functools.partial(
        Setting, batch=args.batch, source=args.source, voxel_m=args.voxel_m
    )
    shape = decoder(make(rays=args.rays)).field.lattice.shape_dhw
    timing.print_versions("torch")
    print(
        f"device cpu, batch {args.batch} x {args.rays} rays x {SAMPLES} samples, volume of "
        f"{CHANNELS} x {' x '.join(map(str, shape))}; {args.rounds} rounds, of "
        f"bf16, compiled and chunks {args.few}\n"
        "cpu ms: median [quartiles]; ratio = contestant / ours"
    )
    for width in args.widths:
        setting = make(rays=args.rays, width=width)
        print(f"\nd1 = {width}")
        compare("interpolation alone", interpolation, setting, args.rounds)
        compare("interpolation + first layer", first_layer, setting, args.rounds)
    print("\nd1 = 64, whole step")
    setting = make(rays=args.rays)
    print_difference(
        "whole step",
        lambda implementation, dtype: whole_step(
            dataclasses.replace(setting, implementation=implementation, dtype=dtype)
        ),
    )
    compare_types(setting, args.rounds, args.few)
    print()
    for chunk in args.chunks:
        compare_chunk(make(rays=args.chunk_rays, chunk=chunk), args.few)


if __name__ == "__main__":
    main()
