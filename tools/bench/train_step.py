"""Time and peak memory of one TREND pretraining step as rays, samples and voxels grow.

    python tools/bench/train_step.py [--turns 3] [--data FOLDER]

Windows of a simulated HDL-32 drive (90 % of the blocks masked, frames t0 and t0 + 0.5 s
supervised), float32, AdamW. First what grows, with 10 input sweeps and an encoder of 16-32-64-64
channels; then the range, voxels, input sweeps and encoder (16-32-64-128) of nuScenes and ONCE with
12,288 rays a frame in chunks of 4096, one step each. Every setting is a fresh process. Peak memory
is the growth of the resident set over the first step, the weights not counted; times are medians
over the later steps, or of the first where it is alone; samples/s are of CPU time; the share of
each part is forward and backward together. `--data` is a folder for the drive, written when absent.
"""

import dataclasses
import functools
import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timing

timing.one_thread()

PEERS = "TREND 65 min per epoch on 8 A100, its baselines 60; ViDAR 63 GB, 7 days on 8 A100"
PARTS = ("data loading", "encoder", "f_3D", "field + render", "optimiser")


@dataclass(frozen=True)
class Shape:
    """Range, voxels, input sweeps and widths of the encoder."""

    point_range: tuple[float, ...]
    voxel_size: tuple[float, ...]
    num_sweeps: int = 10
    channels: tuple[int, ...] = (16, 32, 64, 64)


_RANGE, _WIDE = (-51.2, -51.2, -5.0, 51.2, 51.2, 3.0), (16, 32, 64, 128)
SHAPES = {
    "coarse": Shape(_RANGE, (0.4, 0.4, 0.2)),
    "medium": Shape(_RANGE, (0.2, 0.2, 0.2)),
    "fine": Shape(_RANGE, (0.1, 0.1, 0.2)),
    "nuScenes": Shape((-54.0, -54.0, -5.0, 54.0, 54.0, 3.0), (0.075, 0.075, 0.2), channels=_WIDE),
    "ONCE": Shape((-75.2, -75.2, -5.0, 75.2, 75.2, 3.0), (0.1, 0.1, 0.2), 1, _WIDE),
}


@dataclass(frozen=True)
class Setting:
    """What grows. `stages` counts the finer ones of `field.detail`."""

    rays: int = 1024
    samples: int = 48
    shape: str = "medium"
    batch: int = 1
    chunk: int = 0
    stages: int = 0


GROWTH = (
    Setting(),
    Setting(rays=4096),
    Setting(rays=12288),
    Setting(rays=12288, chunk=4096),
    Setting(samples=24),
    Setting(samples=96),
    Setting(shape="coarse"),
    Setting(shape="fine"),
    Setting(stages=3),
    Setting(rays=4096, stages=3),
)
PUBLISHED = tuple(
    Setting(rays=12288, shape=shape, batch=batch, chunk=4096)
    for shape in ("nuScenes", "ONCE")
    for batch in (1, 3)
)


def main() -> None:
    """Print the table, or be one setting."""
    parser = timing.parser(__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--child", help="one setting, as JSON")
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measure(Setting(**json.loads(args.child)), args.data, args.turns)))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or Path(folder) / "drive"
        if not data.exists():
            _simulate(data)
        timing.print_versions("torch", "numpy")
        print(f"device cpu; {args.turns} steps after the first, of nuScenes and ONCE the first")
        print("published, not run here: " + PEERS)
        shares = "".join(f"{part:>15}" for part in PARTS)
        print(
            f"{'shape':>9}{'batch':>6}{'rays':>7}{'samples':>8}{'chunk':>6}{'stages':>7}{'voxels':>8}"
            f"{'cpu s':>23}{'wall s':>8}{'samples/s':>10}{'peak GiB':>9}{shares}"
        )
        for setting in (*GROWTH, *PUBLISHED):
            if setting.shape in args.shapes:
                _print_row(setting, data, 0 if setting in PUBLISHED else args.turns)


def _print_row(setting: Setting, data: Path, turns: int) -> None:
    given = json.dumps(dataclasses.asdict(setting))
    run = timing.in_fresh_process(__file__, given, "--data", str(data), "--turns", str(turns))
    totals = [sum(step.values()) for step in run["parts"]]
    medians = {part: statistics.median(step[part] for step in run["parts"]) for part in PARTS}
    shares = "".join(f"{100 * t / sum(medians.values()):>14.0f}%" for t in medians.values())
    print(
        f"{setting.shape:>9}{setting.batch:>6}{setting.rays:>7}{setting.samples:>8}"
        f"{setting.chunk:>6}{setting.stages:>7}{run['voxels']:>8}"
        f"{timing.show(totals, digits=2):>23}{statistics.median(run['wall']):>8.2f}"
        f"{setting.batch / statistics.median(totals):>10.3f}{run['growth_mib'] / 1024:>9.2f}"
        f"{shares}   field / encoder {medians['field + render'] / medians['encoder']:.2f}",
        flush=True,
    )


def measure(setting: Setting, data: Path, turns: int) -> dict[str, Any]:
    """Parts of every step, wall seconds, peak memory and the number of voxels."""
    import torch

    from lidar.config import trend_config
    from lidar.data.batch import WindowBatch, collate_windows
    from lidar.data.datamodule import PretrainDataModule
    from lidar.geometry.voxel_grid import voxelise_mean
    from lidar.trend import Trend

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = _config(setting, data)
    module = PretrainDataModule(config)
    module.setup("fit")
    windows = module.train
    assert windows is not None
    model = Trend(trend_config(config, module.feature_columns)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    parts = _Parts(model)

    taken, wall = [], []

    def load(turn: int) -> WindowBatch:
        chosen = range(turn * setting.batch, (turn + 1) * setting.batch)
        last = len(windows) - 1  # the late windows have all their earlier sweeps
        return collate_windows([windows[last - i % len(windows)] for i in chosen])

    def step(turn: int) -> None:
        parts.begin()
        batch = load(turn)
        parts.end("data loading")
        optimizer.zero_grad()
        parts.end("optimiser")
        total = model.losses(batch).total
        parts.end("field + render")
        total.backward()
        parts.end("encoder")
        optimizer.step()
        parts.end("optimiser")
        taken.append(parts.seconds)

    def timed_step(turn: int) -> None:
        wall.append(timing.timed(functools.partial(step, turn)).wall)

    with timing.peak_memory() as memory:
        timed_step(0)
    for turn in range(1, turns + 1):
        timed_step(turn)
    batch = load(0)
    coords, _ = voxelise_mean(batch.points, batch.point_batch, model.grid)
    counted = slice(1, None) if turns else slice(None)
    return {
        "parts": taken[counted],
        "wall": wall[counted],
        "growth_mib": memory.growth_mib,
        "voxels": len(coords),
    }


class _Parts:
    """CPU seconds of each part of a step.

    The backward pass runs from the rays to the encoder: the gradient of the rolled-out volume
    arrives when field and rendering are done, that of the encoded one when f_3D is.
    """

    def __init__(self, model: Any) -> None:
        self.begin()
        encode, roll_out = model.encode, model.roll_out

        def timed_encode(*inputs: Any) -> Any:
            scene = encode(*inputs)
            self.end("encoder")
            scene.volume.register_hook(lambda _: self.end("f_3D"))
            return scene

        def timed_roll_out(*inputs: Any) -> Any:
            scenes = roll_out(*inputs)
            self.end("f_3D")
            scenes[-1].volume.register_hook(lambda _: self.end("field + render"))
            return scenes

        model.encode, model.roll_out = timed_encode, timed_roll_out

    def begin(self) -> None:
        """Start a step."""
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._watch = timing.Stopwatch()

    def end(self, part: str) -> None:
        """Book the time since the last mark on a part."""
        self.seconds[part] += self._watch.read().cpu
        self._watch = timing.Stopwatch()


def _config(setting: Setting, data: Path) -> Any:
    from lidar.config import (
        CurriculumConfig,
        DataConfig,
        EncoderConfig,
        FieldConfig,
        PretrainConfig,
        RaysConfig,
        RenderConfig,
    )

    shape = SHAPES[setting.shape]
    importance = setting.samples // 4
    return PretrainConfig(
        data=DataConfig(
            root=str(data),
            version="v1.0-mini",
            num_sweeps=shape.num_sweeps,
            key_frames_only=False,
            point_range=list(shape.point_range),
            voxel_size=list(shape.voxel_size),
        ),
        encoder=EncoderConfig(channels=list(shape.channels), out_channels=shape.channels[-1]),
        field=FieldConfig(detail=["x_conv1", "x_conv2", "x_conv3"][: setting.stages]),
        rays=RaysConfig(n=setting.rays),
        render=RenderConfig(
            n_uniform=setting.samples - importance, n_importance=importance, chunk=setting.chunk
        ),
        curriculum=CurriculumConfig(stages=[[1, 1]]),
    )


def _simulate(folder: Path) -> None:
    from foretell.config import RunOptions
    from lidar.simulate import command
    from lidar.simulate.config import SimulateConfig

    config = SimulateConfig(scenes=1, val_scenes=0, duration_s=2.0)
    command.run(config, RunOptions(out=str(folder)))


if __name__ == "__main__":
    main()
