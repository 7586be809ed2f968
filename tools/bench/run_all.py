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
    "field.py": ["--rays", "4096", "--rounds", "5"],
    "sparse_conv.py": ["--repeats", "11", "--channels", "16", "64"],
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


AIMS = (
    Aim("interpolation + first layer: direct / ours, time", "field.py",
        r"interpolation \+ first layer" + RATIO, at_least=3.5),
    Aim("whole rendering + field step: direct / ours, time", "field.py",
        r"whole step" + RATIO, at_least=2.0),
    Aim("peak memory of that step: ours / direct", "field.py",
        r"(?m)peak memory.*MiB, ([\d.]+)$", at_most=0.5),
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

The machine was shared: other work ran on its cores meanwhile (the load average stands above each
table). Peer and ours take turns in one run, and ratios are formed turn by turn, so only ratios
compare. Times are CPU times of the process, except in `field.py`, whose times are wall times.
Numbers are medians, in `blocks.py` ratios of the smallest times; brackets hold the first and third
quartile.

| what | aim | measured | |
|---|---|---|---|
{rows}

{chr(10).join(sections)}"""


if __name__ == "__main__":
    main()
