"""First convolution of f_3D: the action added by border classes, against a repeated copy of it.

    python tools/bench/recurrence.py [--depths 2 5] [--size 180] [--rounds 5]

Contestants take turns in one process, CPU time: `ours`; `naive` = repeat, concatenate, torch's
conv3d; `concatenated` = the same copy with our convolution, which leaves the algebra alone as the
difference. Peak memory is the growth of the resident set over a first step, each in a fresh
process.
"""

import dataclasses
import json
from dataclasses import dataclass

import timing

timing.one_thread()

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from twins import Graph, print_difference, report  # noqa: E402

from foretell.blocks.broadcast_conv import (  # noqa: E402
    conv3d_with_repeated,
    conv3d_with_repeated_naive,
)
from foretell.blocks.conv3d import conv3d  # noqa: E402

CHANNELS, ACTION = 128, 16
EXACT_SIZE = 12
"""Width of the volume on which outputs and gradients are compared."""


@dataclass(frozen=True)
class Setting:
    """One case: a volume of depth x size x size cells."""

    contestant: str
    depth: int
    size: int
    dtype: torch.dtype = torch.float32


def convolution(setting: Setting) -> Graph:
    """144 to 128 channels, kernel 3."""
    generator = torch.Generator().manual_seed(0)

    def leaf(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return drawn.to(setting.dtype).requires_grad_()

    leaves = [
        leaf(1, CHANNELS, setting.depth, setting.size, setting.size),
        leaf(1, ACTION),
        leaf(CHANNELS, CHANNELS + ACTION, 3, 3, 3),
        leaf(CHANNELS),
    ]
    run = {
        "ours": conv3d_with_repeated,
        "naive": conv3d_with_repeated_naive,
        "concatenated": _concatenated,
    }[setting.contestant]
    return Graph(lambda: run(*leaves), leaves)


def _concatenated(volume: Tensor, vector: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    repeated = vector[:, :, None, None, None].expand(-1, -1, *volume.shape[2:])
    return conv3d(torch.cat([volume, repeated], dim=1), weight, bias)


def main() -> None:
    """Print the table, or be one case."""
    parser = timing.parser(__doc__)
    parser.add_argument("--depths", type=int, nargs="+", default=[2, 5])
    parser.add_argument("--size", type=int, default=180)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", help="one case, as JSON")
    args = parser.parse_args()
    if args.child:
        graph = convolution(Setting(**json.loads(args.child)))
        with timing.peak_memory() as memory:
            graph.passes()
        print(json.dumps({"growth_mib": memory.growth_mib}))
        return
    timing.print_versions("torch")
    print(f"{CHANNELS} + {ACTION} to {CHANNELS} channels, {args.rounds} rounds; cpu ms")
    for depth in args.depths:
        _print_depth(depth, args.size, args.rounds)


def _print_depth(depth: int, size: int, rounds: int) -> None:
    print(f"\nvolume {depth} x {size} x {size}")
    print_difference(
        f"D = {depth}, on {EXACT_SIZE} x {EXACT_SIZE} cells,",
        lambda implementation, dtype: convolution(
            Setting("ours" if implementation == "fast" else "naive", depth, EXACT_SIZE, dtype)
        ),
    )
    settings = [Setting(name, depth, size) for name in ("ours", "naive", "concatenated")]
    report(f"D = {depth}", {each.contestant: convolution(each) for each in settings}, rounds)
    for each in settings:
        given = {k: v for k, v in dataclasses.asdict(each).items() if k != "dtype"}
        memory = timing.in_fresh_process(__file__, json.dumps(given))
        print(f"  peak memory {each.contestant} {memory['growth_mib']:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
