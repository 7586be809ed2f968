"""`foretell doctor`: versions, devices, optional packages, one tiny step of every head."""

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import foretell
from foretell.cli import HEADS, PACKAGES, heads
from foretell.errors import UserError, missing_package

CORE = ("torch", "numpy", "scipy", "lightning", "safetensors", "jsonargparse", "matplotlib")
OPTIONAL = {
    "open3d": "lidar",
    "nuscenes": "nuscenes",
    "transformers": "forecasting",
    "gguf": "forecasting",
    "sklearn": "forecasting",
    "statsmodels": "forecasting",
}


def run_doctor(arguments: Sequence[str]) -> None:
    """Print the report.

    Raises:
        UserError: A head's tiny step failed, a core package is missing or a package is shadowed.
    """
    if arguments and arguments[0] in ("--help", "-h"):
        sys.stdout.write("usage: foretell doctor\n\nversions, devices, packages, tiny steps\n")
        return
    if arguments:
        raise UserError(f"foretell doctor takes no arguments, got {arguments[0]!r}")
    lines = [("foretell", foretell.__version__), ("python", platform.python_version())]
    problems = _report_packages(lines)
    problems += _report_shadows(lines)
    if not problems:
        lines += _devices()
        problems += _report_steps(lines)
    width = max(len(name) for name, _ in lines)
    sys.stdout.write("".join(f"{name:<{width}}  {text}\n" for name, text in lines))
    if problems:
        raise UserError(f"doctor found {len(problems)} problems: {'; '.join(problems)}")


def shadows(search_path: Sequence[str]) -> dict[str, list[Path]]:
    """Other packages or modules of our names, by name, in import order.

    Args:
        search_path: Folders as in `sys.path`.
    """
    ours = Path(foretell.__file__).resolve().parents[1]
    found: dict[str, list[Path]] = {}
    for name in PACKAGES:
        for folder in dict.fromkeys(Path(entry or ".").resolve() for entry in search_path):
            module, package = folder / f"{name}.py", folder / name / "__init__.py"
            for candidate in (package, module):
                if candidate.is_file() and folder != ours:
                    found.setdefault(name, []).append(candidate)
    return found


def _report_packages(lines: list[tuple[str, str]]) -> list[str]:
    problems = []
    for name in CORE:
        try:
            lines.append((name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            lines.append((name, "missing"))
            problems.append(str(missing_package(name, "")))
    for name, extra in OPTIONAL.items():
        if importlib.util.find_spec(name) is None:
            lines.append((name, f"not installed (optional): pip install 'foretell[{extra}]'"))
            continue
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError) as error:
            lines.append((name, f"broken: {str(error).splitlines()[0]}"))
            problems.append(f"{name} cannot be imported: {str(error).splitlines()[0]}")
        else:
            lines.append((name, str(getattr(module, "__version__", "installed"))))
    return problems


def _report_shadows(lines: list[tuple[str, str]]) -> list[str]:
    problems = []
    for name, places in shadows(sys.path).items():
        listed = ", ".join(str(place) for place in places)
        lines.append((name, f"also at {listed}"))
        problems.append(f"another {name} can shadow ours: {listed}; remove or rename it")
    return problems


def _devices() -> list[tuple[str, str]]:
    import torch

    lines = [("cpu", f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads")]
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        lines.append((f"cuda:{index}", f"{device.name}, {device.total_memory / 2**30:.0f} GiB"))
    if torch.cuda.device_count() == 0:
        lines.append(("cuda", "none"))
    return lines


def _report_steps(lines: list[tuple[str, str]]) -> list[str]:
    problems = []
    for head in heads():
        name = f"{HEADS[head][0].rpartition('.')[0]}.doctor"
        if importlib.util.find_spec(name) is None:
            lines.append((f"{head} step", "none to try"))
            problems.append(f"head {head} has no {name}")
            continue
        started = time.perf_counter()
        try:
            told = importlib.import_module(name).tiny_step()
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            lines.append((f"{head} step", f"failed: {reason}"))
            problems.append(f"the tiny step of {head} failed: {reason}")
        else:
            seconds = time.perf_counter() - started
            lines.append((f"{head} step", f"{told or 'ok'} ({seconds:.1f} s)"))
    return problems
