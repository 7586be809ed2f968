"""The largest memory that a piece of work took."""

from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_SLACK_MB = 8.0
"""What a process may take between two readings of its own size."""


def reset_peak() -> bool:
    """Start measuring anew.

    Returns:
        Whether the system allows it: Linux does, others and some containers know the peak of the
        whole process alone, which says nothing of a piece of its work.
    """
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    sizes = _sizes()
    return "VmHWM" in sizes and sizes["VmHWM"] <= sizes["VmRSS"] + _SLACK_MB


def peak_mb() -> float:
    """Peak resident set in MiB since a `reset_peak` that returned true."""
    return _sizes()["VmHWM"]


def _sizes() -> dict[str, float]:
    lines = [line.split() for line in _STATUS.read_text().splitlines()]
    return {
        words[0].rstrip(":"): int(words[1]) / 1024
        for words in lines
        if words and words[0] in ("VmHWM:", "VmRSS:")
    }
