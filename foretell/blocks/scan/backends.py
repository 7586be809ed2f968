"""Our forms of a scan by name, and which of them a block runs."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from foretell.blocks.scan import naive
from foretell.blocks.scan.chunked import linear_scan, linear_scan_tree, ssd, ssd_tree
from foretell.blocks.scan.device import device_defaults
from foretell.blocks.scan.softmax import softmax_scan, softmax_scan_tree

ScanBackend = Literal["auto", "naive", "chunked", "tree"]
"""A plain loop, chunks or a tree over time; "auto" is what the block was given or suits its device.
"""

Scan = Callable[..., tuple[Any, Any]]

LINEAR_SCANS: dict[str, Scan] = {
    "naive": naive.linear_scan,
    "chunked": linear_scan,
    "tree": linear_scan_tree,
}
"""A decay per channel; "chunked" is a loop too, which a CPU runs faster than the tree."""
SSD_SCANS: dict[str, Scan] = {"naive": naive.ssd, "chunked": ssd, "tree": ssd_tree}
"""A decay per head."""
SOFTMAX_SCANS: dict[str, Scan] = {
    "naive": naive.softmax_scan,
    "chunked": softmax_scan,
    "tree": softmax_scan_tree,
}
"""Prefix softmax."""


def choose_scan(scans: Mapping[str, Scan], scan_backend: ScanBackend, scan_fn: Scan) -> Scan:
    """The scan that a block runs: `scan_fn` with "auto", else ours of that name.

    Args:
        scans: Ours; "chunked" is the default of `scan_fn`.
        scan_backend: Which.
        scan_fn: What the caller gave.

    Raises:
        ValueError: An unknown name, or one beside a `scan_fn` that is not the default.
    """
    if scan_backend == "auto":
        return scan_fn
    if scan_backend not in scans:
        raise ValueError(
            f"scan_backend must be auto or one of {', '.join(scans)}, got {scan_backend!r}"
        )
    if scan_fn is not scans["chunked"]:
        raise ValueError(f"scan_fn needs scan_backend auto, got {scan_backend!r}")
    return scans[scan_backend]


def linear_scan_on(device_type: str, scan_backend: ScanBackend) -> Scan:
    """The scan with a decay per channel of that name; "auto" is what suits the device.

    Example:
        >>> linear_scan_on("cpu", "auto").__name__, linear_scan_on("cuda", "auto").__name__
        ('linear_scan', 'linear_scan_tree')
    """
    if scan_backend == "auto":
        return LINEAR_SCANS[device_defaults(device_type).per_channel]
    return LINEAR_SCANS[scan_backend]
