"""Time and peak memory of one TREND pretraining step as rays, samples and voxels grow.

    python tools/bench/train_step.py [--turns 3] [--data FOLDER]

One window of a simulated HDL-32 drive (10 input sweeps, 90 % of the blocks masked, frames t0 and
t0 + 0.5 s supervised), an encoder of 16-32-64-64 channels, float32, AdamW. Every setting is a
fresh process. Peak memory is the growth of the resident set over the first step, the weights not
counted; times are medians over the later steps, the share of each part is forward and backward
together. `--data` is a folder for the drive, written when absent.
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

PARTS = ("data loading", "encoder", "f_3D", "field + render", "optimiser")
VOXEL_M = {"small": 0.4, "medium": 0.2, "large": 0.1}


@dataclass(frozen=True)
class Setting:
    """What grows. `stages` counts the finer ones of `field.detail`."""

    rays: int = 1024
    samples: int = 48
    voxels: str = "medium"
    chunk: int = 0
    stages: int = 0


SETTINGS = (
    Setting(),
    Setting(rays=4096),
    Setting(rays=12288),
    Setting(rays=12288, chunk=4096),
    Setting(samples=24),
    Setting(samples=96),
    Setting(voxels="small"),
    Setting(voxels="large"),
    Setting(stages=3),
    Setting(rays=4096, stages=3),
)


def main() -> None:
    """Print the table, or be one setting."""
    parser = timing.parser(__doc__)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--data", type=Path)
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
        print(f"batch 1, {args.turns} steps after the first")
        shares = "".join(f"{part:>15}" for part in PARTS)
        print(
            f"{'rays':>6}{'samples':>8}{'chunk':>6}{'stages':>7}{'voxel m':>8}{'voxels':>8}"
            f"{'cpu s':>23}{'wall s':>8}{'peak MiB':>9}{shares}"
        )
        for setting in SETTINGS:
            _print_row(setting, data, args.turns)


def _print_row(setting: Setting, data: Path, turns: int) -> None:
    run = timing.in_fresh_process(
        __file__,
        json.dumps(dataclasses.asdict(setting)),
        "--data",
        str(data),
        "--turns",
        str(turns),
    )
    totals = [sum(step.values()) for step in run["parts"]]
    medians = {part: statistics.median(step[part] for step in run["parts"]) for part in PARTS}
    shares = "".join(f"{100 * t / sum(medians.values()):>14.0f}%" for t in medians.values())
    print(
        f"{setting.rays:>6}{setting.samples:>8}{setting.chunk:>6}{setting.stages:>7}"
        f"{VOXEL_M[setting.voxels]:>8}"
        f"{run['voxels']:>8}{timing.show(totals, digits=2):>23}"
        f"{statistics.median(run['wall']):>8.2f}{run['growth_mib']:>9.0f}{shares}",
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

    def step(index: int) -> WindowBatch:
        parts.begin()
        batch = collate_windows([windows[index]])
        parts.end("data loading")
        optimizer.zero_grad()
        parts.end("optimiser")
        total = model.losses(batch).total
        parts.end("field + render")
        total.backward()
        parts.end("encoder")
        optimizer.step()
        parts.end("optimiser")
        return batch

    with timing.peak_memory() as memory:
        batch = step(0)
    taken, wall = [], []
    for turn in range(1, turns + 1):
        seconds = timing.timed(functools.partial(step, turn % len(windows)))
        wall.append(seconds.wall)
        taken.append(parts.seconds)
    coords, _ = voxelise_mean(batch.points, batch.point_batch, model.grid)
    return {
        "parts": taken,
        "wall": wall,
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

    size = VOXEL_M[setting.voxels]
    importance = setting.samples // 4
    return PretrainConfig(
        data=DataConfig(
            root=str(data),
            version="v1.0-mini",
            num_sweeps=10,
            key_frames_only=False,
            point_range=[-51.2, -51.2, -5.0, 51.2, 51.2, 3.0],
            voxel_size=[size, size, 0.2],
        ),
        encoder=EncoderConfig(channels=[16, 32, 64, 64], out_channels=64),
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
