"""The largest memory that a piece of work took."""

import resource
import sys
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
MIB = 1 << 20


def reset_peak() -> None:
    """Start measuring anew, where the system allows it (Linux); else the process's peak counts."""
    try:
        _RESET.write_text("5")
    except OSError:
        return


def peak_mb() -> float:
    """Peak resident set in MiB since `reset_peak`."""
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB
