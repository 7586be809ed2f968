"""The folder of one run, and writes that a full disk or a kill cannot spoil."""

import contextlib
import json
import logging
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import foretell
from foretell.config import RunOptions, to_yaml
from foretell.errors import UserError

_log = logging.getLogger(__name__)

PARTS = ("forecast", "val", "test")
TEST_ENDINGS = ("mean", "std", "n")
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+\-]*")
_METRIC = re.compile(r"[a-z][a-z0-9_]*")
_PACKAGES = ("torch", "numpy", "lightning", "scipy", "safetensors", "open3d-cpu", "open3d")


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends without error.

    Until then the old file is untouched, so a kill or a full disk leaves it as it was.

    Raises:
        UserError: One line naming the file and the reason when the system refuses the write.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; the previous file, if any, is "
            "unchanged; free space or choose another --out"
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def atomic_write(path: Path, content: str | bytes) -> None:
    """Replace a file's content whole or not at all."""
    data = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def check_metrics(metrics: Mapping[str, Any]) -> None:
    """Check names of metrics against `<part>[/<protocol>]/<who>[/<slice>...]/<metric>`.

    Part is forecast, val or test; every test/ name ends in /mean, /std or /n and has the other
    two beside it.

    Raises:
        ValueError: Naming the first wrong name and the rule it breaks.
    """
    for name in metrics:
        segments = name.split("/")
        if segments[0] not in PARTS:
            raise ValueError(f"metric {name!r} must begin with one of {', '.join(PARTS)}")
        if segments[0] == "test":
            if segments[-1] not in TEST_ENDINGS:
                raise ValueError(f"metric {name!r} must end in /mean, /std or /n")
            for ending in TEST_ENDINGS:
                sibling = "/".join([*segments[:-1], ending])
                if sibling not in metrics:
                    raise ValueError(f"metric {name!r} needs {sibling!r} beside it")
            segments = segments[:-1]
        if len(segments) < 3:
            raise ValueError(f"metric {name!r} must be <part>/<who>/<metric> or longer")
        if not all(_SEGMENT.fullmatch(segment) for segment in segments):
            raise ValueError(f"metric {name!r} has an empty part or a character not allowed")
        if not _METRIC.fullmatch(segments[-1]):
            raise ValueError(f"metric {name!r} must end in a lower-case name such as l1_m")


class RunDirectory:
    """One run's folder: config.yaml, env.json, metrics.json, metrics.csv and its subfolders.

    Args:
        out: Folder of the run; made when missing.
    """

    def __init__(self, out: Path | str) -> None:
        self.path = Path(out)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot make the run folder {out}: {error.strerror}") from None

    @classmethod
    def create(cls, verb: str, config: Any, options: RunOptions) -> "RunDirectory":
        """Open `options.out`, or a new folder of the verb, and write config.yaml and env.json."""
        run = cls(options.out or default_out(verb, "default"))
        run.write_config(config)
        run.write_env(options)
        return run

    @property
    def checkpoints(self) -> Path:
        """Training checkpoints, `last.ckpt` among them."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The saved model: config.json, model.safetensors, README.md."""
        return self.path / "model"

    @property
    def figures(self) -> Path:
        """Pictures."""
        return self.path / "figures"

    @property
    def history(self) -> Path:
        """metrics.csv: one row per logged step."""
        return self.path / "metrics.csv"

    @property
    def metrics(self) -> Path:
        """metrics.json: the run's numbers by name."""
        return self.path / "metrics.json"

    def resume_path(self, options: RunOptions) -> Path | None:
        """The checkpoint that `options.resume` means, None to start anew.

        Raises:
            UserError: A path that holds no checkpoint.
        """
        if not options.resume:
            return None
        if options.resume == "auto":
            newest = newest_checkpoint(self.checkpoints)
            if newest is None:
                _log.info("no checkpoint in %s: starting anew", self.path)
            return newest
        path = Path(options.resume)
        found = newest_checkpoint(path / "checkpoints" if path.is_dir() else path)
        if found is None:
            raise UserError(
                f"--resume {path}: no checkpoint there; give a .ckpt file, a run folder, or auto"
            )
        return found

    def write_config(self, config: Any, *, prefix: str = "") -> None:
        """Write the resolved configuration as `<prefix>config.yaml`."""
        atomic_write(self.path / f"{prefix}config.yaml", to_yaml(config))

    def write_env(self, options: RunOptions, *, prefix: str = "") -> None:
        """Write versions, command, seed and time of start as `<prefix>env.json`."""
        atomic_write(self.path / f"{prefix}env.json", _json(environment(options)))

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Check names and write metrics.json; a value that is not finite becomes null."""
        check_metrics(metrics)
        plain = {name: _plain(value) for name, value in metrics.items()}
        atomic_write(self.metrics, _json(plain))

    def read_metrics(self) -> dict[str, float | int | None]:
        """metrics.json, empty when not written yet."""
        content: dict[str, float | int | None] = {}
        if self.metrics.is_file():
            content = json.loads(self.metrics.read_text())
        return content


def newest_checkpoint(path: Path) -> Path | None:
    """`path` itself if it is a file, else the folder's newest .ckpt file; None without one."""
    if path.is_file():
        return path
    found = sorted(path.glob("*.ckpt"), key=lambda file: file.stat().st_mtime_ns)
    return found[-1] if found else None


def default_out(verb: str, config_name: str, *, root: Path | str = "runs") -> Path:
    """A new `runs/<verb>/<config>/<UTC time>` folder; `latest` beside it points there."""
    parent = Path(root) / verb / config_name
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    for count in range(1000):
        path = parent / (stamp if count == 0 else f"{stamp}-{count}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(f"cannot make the run folder {path}: {error.strerror}") from None
        _point_latest(parent, path.name)
        return path
    raise UserError(f"cannot find a free name in {parent}; give --out")


def discard_empty(out: Path) -> None:
    """Remove a folder of `default_out` into which nothing was written; `latest` goes back."""
    try:
        out.rmdir()
    except OSError:
        return  # gone, or not empty
    link = out.parent / "latest"
    if not link.is_symlink() or os.readlink(link) != out.name:
        return
    earlier = sorted(path.name for path in out.parent.iterdir() if path != link and path.is_dir())
    if earlier:
        _point_latest(out.parent, earlier[-1])
        return
    link.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        for parent in list(out.parents)[:3]:  # <root>/<verb>/<config>
            parent.rmdir()


def latest_out(verb: str, config_name: str, *, root: Path | str = "runs") -> Path | None:
    """The newest run that has a checkpoint, else the one `latest` points to, else None.

    A later run that failed before its first checkpoint, on a mistyped path, is passed over.
    """
    parent = Path(root) / verb / config_name
    runs = {path.parents[1] for path in parent.glob("*/checkpoints/*.ckpt")}
    runs |= {path.parents[2] for path in parent.glob("*/seed_*/checkpoints/*.ckpt")}
    link = parent / "latest"
    if started := [path for path in runs if path != link]:
        return max(started, key=lambda run: run.name)  # names are times
    return parent / os.readlink(link) if link.is_symlink() and link.exists() else None


def environment(options: RunOptions) -> dict[str, Any]:
    """What is needed to repeat a run, read without importing the packages."""
    versions = {"foretell": foretell.__version__}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "seed": options.seed,
        "seeds": options.seeds,
        "started_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "platform": sys.platform,
        "cpu_count": os.cpu_count(),
        "commit": _commit(),
        "versions": versions,
    }


def _commit() -> str | None:
    """Commit of the checkout this package runs from, None for an installed wheel."""
    import subprocess

    root = Path(foretell.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _point_latest(parent: Path, name: str) -> None:
    temporary = parent / f".latest.{os.getpid()}"
    # A file system without links loses only the convenience.
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(name, target_is_directory=True)
        temporary.replace(parent / "latest")


def _plain(value: Any) -> float | int | None:
    number = value.item() if hasattr(value, "item") else value
    if number is None or (isinstance(number, float) and not math.isfinite(number)):
        return None
    if isinstance(number, bool | int):
        return int(number)
    if isinstance(number, float):
        return number
    raise ValueError(f"a metric must be a number, got {value!r}")


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
