"""`make bench`: run every benchmark with sizes of a few minutes and write docs/results/bench.md.

    python tools/bench/run_all.py [--spconv FOLDER] [--out docs/results/bench.md]

`--spconv`: see sparse_conv.py. Real sweeps are used where $FORETELL_TEST_DATA names them.
"""

import datetime
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import timing

timing.one_thread()

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
COMMANDS = {
    "field.py": ["--rays", "4096", "--rounds", "20", "--few", "3"],
    "recurrence.py": ["--rounds", "5"],
    "sparse_conv.py": ["--repeats", "11", "--channels", "16", "32", "64"],
    "nuscenes_index.py": ["--turns", "5"],
    "multisweep.py": ["--turns", "80"],
    "simulate.py": ["--sweeps", "20", "--repeats", "5"],
    "train_step.py": ["--turns", "3"],
    "blocks.py": ["--lengths", "1024", "4096", "--only", "scans", "softmax", "recurrent", "titans"],
}
RATIO = r".*?ratio +([\d.]+)( \[[^]]*\])?"


@dataclass(frozen=True)
class Aim:
    """One line of the summary: a number found in a script's output, and what it should reach."""

    name: str
    script: str
    pattern: str
    at_least: float | None = None
    at_most: float | None = None

    def row(self, output: str) -> str:
        """A row of the table."""
        found = re.search(self.pattern, output)
        wanted = "-" if self.at_least is None else f">= {self.at_least:g}"
        if self.at_most is not None:
            wanted = f"<= {self.at_most:g}"
        if found is None:
            return f"| {self.name} | {wanted} | not measured | |"
        value, spread = float(found[1]), (found[2] or "").strip() if found.re.groups > 1 else ""
        met = (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )
        verdict = "" if wanted == "-" else "met" if met else "missed"
        return f"| {self.name} | {wanted} | {f'{value:g} {spread}'.strip()} | {verdict} |"


def _step_row(shape: str, batch: int) -> str:
    """A row of train_step.py up to its wall time."""
    return rf"(?m)^ *{shape} +{batch} .*?\] +[\d.]+ +"


WIDTHS, CHUNKS, DEPTHS, SHAPES = (32, 64, 128), (1024, 4096, 12288), (2, 5), ("nuScenes", "ONCE")
AIMS = (
    *(Aim(f"grid_sample / gather of eight corners, {width} channels, time", "field.py",
          rf"(?s)d1 = {width}\n.*?interpolation alone both" + RATIO) for width in WIDTHS),
    *(Aim(f"interpolation + first layer of {width}: direct / ours, time", "field.py",
          rf"(?s)d1 = {width}\n.*?first layer both" + RATIO, at_least=3.5) for width in WIDTHS),
    Aim("whole rendering + field step: direct / ours, time", "field.py",
        r"whole step, float32 both.*?naive" + RATIO, at_least=2.0),
    *(Aim(f"the same, {kind}", "field.py", rf"whole step, {kind} both.*?naive" + RATIO)
      for kind in ("bf16", "compiled")),
    *(Aim(f"peak memory, 12,288 rays, chunks of {chunk}: ours / direct", "field.py",
          rf"chunk {chunk} peak memory.*ours / naive ([\d.]+)", at_most=0.5) for chunk in CHUNKS),
    *(Aim(f"12,288 rays, chunks of {chunk}: direct / ours, time", "field.py",
          rf"chunk {chunk} both.*naive" + RATIO) for chunk in CHUNKS),
    *(Aim(f"first convolution of f_3D, D = {depth}: repeated copy / ours, time", "recurrence.py",
          rf"D = {depth} both.*concatenated" + RATIO) for depth in DEPTHS),
    *(Aim(f"the same, D = {depth}: torch's conv3d of the copy / ours, time", "recurrence.py",
          rf"D = {depth} both.*naive" + RATIO) for depth in DEPTHS),
    *(Aim(f"training step, {shape}, batch {batch}: samples/s", "train_step.py",
          _step_row(shape, batch) + r"([\d.]+)") for shape in SHAPES for batch in (1, 3)),
    *(Aim(f"training step, {shape}, batch {batch}: peak GiB", "train_step.py",
          _step_row(shape, batch) + r"[\d.]+ +([\d.]+)", at_most=24.0 if batch == 1 else None)
      for shape in SHAPES for batch in (1, 3)),
    *(Aim(f"training step, {shape}, batch 1: time of field / encoder", "train_step.py",
          _step_row(shape, 1) + r".*field / encoder ([\d.]+)", at_most=0.5) for shape in SHAPES),
    Aim("sparse convolution, slowest row: ours / spconv, time", "sparse_conv.py",
        r"slowest of all rows: ours / spconv ([\d.]+)", at_most=2.0),
    Aim("sparse convolution, slowest row of 32 and 64 channels: ours / spconv, time",
        "sparse_conv.py", r"slowest of rows of 32 and 64.*ours / spconv ([\d.]+)", at_most=1.0),
    Aim("sparse convolution forward: dense conv3d / ours", "sparse_conv.py",
        r"forward .*conv3d" + RATIO),
    Aim("sparse convolution backward: dense conv3d / ours", "sparse_conv.py",
        r"backward .*conv3d" + RATIO),
    Aim("opening 40 scenes: devkit / ours, time", "nuscenes_index.py",
        r"open, cpu:" + RATIO, at_least=50.0),
    Aim("opening 40 scenes: devkit / ours, memory", "nuscenes_index.py",
        r"memory of open:" + RATIO, at_least=50.0),
    Aim("opening and reading all poses and boxes: devkit / ours, time", "nuscenes_index.py",
        r"open and walk, cpu:" + RATIO),
    Aim("opening and reading all poses and boxes: devkit / ours, memory", "nuscenes_index.py",
        r"memory of open and walk:" + RATIO),
    Aim("joining 10 sweeps: devkit / ours, time", "multisweep.py",
        r"10 sweep\(s\), cpu:" + RATIO, at_least=3.0),
    Aim("simulated 34,688-ray sweep, written, seconds", "simulate.py",
        r"all rays at once, cast \+ write +cpu ([\d.]+)( \[[^]]*\])", at_most=0.25),
    Aim("scan with a decay per channel, 4,096 steps: ours / mambapy, time", "blocks.py",
        r"P3 .*time 4096" + RATIO, at_most=1.0),
    Aim("SSD by chunks, 4,096 steps: ours / loop over time, time", "blocks.py",
        r"P4 .*time 4096" + RATIO, at_most=0.3),
    Aim("prefix softmax, 1,024 steps: ours / masked softmax, time", "blocks.py",
        r"P5 .*masked softmax, time 1024" + RATIO, at_most=0.125),
    Aim("LSTM, 4,096 steps: ours / nn.LSTM, time", "blocks.py",
        r"P6 LSTM .*time 4096" + RATIO, at_most=1.15),
    Aim("ragged LSTM, 4,096 steps: ours / packed nn.LSTM, time", "blocks.py",
        r"P6 .*packed nn.LSTM, time 4096" + RATIO, at_most=0.4),
)  # fmt: skip


def main() -> None:
    """Run everything, print as it comes, write the page."""
    parser = timing.parser(__doc__)
    parser.add_argument("--spconv", help="folder with spconv and cumm")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "docs/results/bench.md")
    args = parser.parse_args()
    started = time.monotonic()
    outputs, sections = {}, []
    for script, options in COMMANDS.items():
        print(f"== {script} {' '.join(options)}", flush=True)
        given = ["--spconv", args.spconv] if args.spconv and script == "sparse_conv.py" else []
        outputs[script] = _run([sys.executable, str(HERE / script), *options, *given])
        shown = " ".join([script, *options, *(["--spconv FOLDER"] if given else [])])
        sections.append(f"## `python tools/bench/{shown}`\n\n```\n{outputs[script].strip()}\n```\n")
    rows = "\n".join(aim.row(outputs[aim.script]) for aim in AIMS)
    minutes = (time.monotonic() - started) / 60
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(_page(rows, sections, minutes))
    print(f"\n{rows}\n{minutes:.1f} minutes, written to {args.out}")


def _run(command: list[str]) -> str:
    """Echo a script's output and return it.

    Raises:
        CalledProcessError: The script failed.
    """
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return "".join(lines)


def _page(rows: str, sections: list[str], minutes: float) -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    ).stdout.strip()
    date = datetime.datetime.now(datetime.UTC).date()
    return f"""# Benchmarks

`make bench` on {date}, commit {commit or "unknown"}, {minutes:.0f} minutes, one thread.

The load average above each table tells whether other work ran on the cores. Peer and ours take
turns in one run, and ratios are formed turn by turn, so only ratios compare. Times are CPU times of
the process. Numbers are medians, in `blocks.py` ratios of the smallest times; brackets hold the
first and third quartile. Large cases take fewer rounds, as each table says. TF32 and all other GPU
figures were not run. A dash is a figure without an aim; the shares of encoder, f_3D, field and data
loading in a training step are in the table of `train_step.py`. The sequence blocks at 16,384 steps,
their growth, latency and memory: `tools/bench/blocks.py` by itself.

| what | aim | measured | |
|---|---|---|---|
{rows}

{chr(10).join(sections)}"""


if __name__ == "__main__":
    main()
