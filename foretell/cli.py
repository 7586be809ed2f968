"""The `foretell` command: finds a head's verbs by name and imports nothing heavy.

A head adds itself by one line in `HEADS` and one module `cli.py` with a table `VERBS`.
"""

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from foretell import __version__
from foretell.errors import UserError, nearest
from foretell.verbs import Verb

HEADS = {
    "lidar": ("lidar.cli", "pretrain 3D backbones by forecasting LiDAR sweeps"),
    "graphs": ("graphs.cli", "predict links, edges and nodes of graphs that change"),
    "forecast": ("forecasting.cli", "forecast time series"),
    "accidents": ("forecasting.dap.cli", "predict the risk of traffic accidents"),
}
DOCTOR = "versions, devices, optional packages, one tiny step of every head"
PACKAGES = ("foretell", "lidar", "graphs", "forecasting")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code (2 = wrong input, told in one line)."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _dispatch(words)
    except UserError as error:
        return _fail(str(error), 2)
    except ValueError as error:
        if not _raised_by_us(error) or os.environ.get("FORETELL_DEBUG"):
            raise
        return _fail(" ".join(str(error).split()), 2)
    except KeyboardInterrupt:
        return _fail("stopped; a training run continues with --resume auto", 130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader left; nothing to tell
        return 0
    except SystemExit as stop:
        # Lightning ends a run on SIGTERM, after the checkpoint, by a SystemExit without a code.
        if type(stop).__name__ == "SIGTERMException":
            return _fail("stopped by SIGTERM; training continues with --resume auto", 143)
        raise
    return 0


def heads() -> dict[str, str]:
    """Heads that are installed, with their help lines."""
    return {name: text for name, (module, text) in HEADS.items() if _exists(module)}


def verbs(head: str) -> dict[str, Verb]:
    """A head's table of verbs."""
    table: dict[str, Verb] = importlib.import_module(HEADS[head][0]).VERBS
    return table


def _dispatch(words: list[str]) -> None:
    if not words or words[0] in ("--help", "-h"):
        sys.stdout.write(_overview())
    elif words[0] == "--version":
        sys.stdout.write(f"foretell {__version__}\n")
    elif words[0] == "doctor":
        from foretell.doctor import run_doctor

        run_doctor(words[1:])
    elif words[0] not in heads():
        known = [*heads(), "doctor"]
        raise UserError(
            f"unknown command {words[0]!r}; there are: {', '.join(known)}{nearest(words[0], known)}"
        )
    else:
        _dispatch_head(words[0], words[1:])


def _dispatch_head(head: str, words: list[str]) -> None:
    table = verbs(head)
    if not words or words[0] in ("--help", "-h"):
        lines = [f"  {name:<10} {verb.help}" for name, verb in table.items()]
        sys.stdout.write(f"usage: foretell {head} VERB [--help]\n\n" + "\n".join(lines) + "\n")
        return
    if words[0] not in table:
        raise UserError(
            f"unknown verb 'foretell {head} {words[0]}'; there are: {', '.join(table)}"
            f"{nearest(words[0], table)}"
        )
    from foretell.command import run_verb

    run_verb(head, words[0], table[words[0]], words[1:])


def _overview() -> str:
    lines = [f"  {name:<10} {text}" for name, text in {**heads(), "doctor": DOCTOR}.items()]
    return (
        "usage: foretell COMMAND [VERB] [--help]\n\n"
        "Representations learned by forecasting.\n\n" + "\n".join(lines) + "\n"
        "\n  --version  print the version\n"
    )


def _exists(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _raised_by_us(error: BaseException) -> bool:
    """Whether the innermost frame is in one of our packages, whose messages are for users."""
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and any(
        Path(frames[-1].filename).is_relative_to(Path(__file__).resolve().parents[1] / package)
        for package in PACKAGES
    )


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"foretell: {message}\n")
    return code
