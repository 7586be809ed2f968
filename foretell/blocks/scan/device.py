"""Sizes and forms of the scans that suit a device."""

from typing import NamedTuple


class DeviceDefaults(NamedTuple):
    """What a scan does where the caller has not chosen."""

    chunk_size: int
    """Steps of a chunk."""
    per_channel: str
    """Name of the form for a decay per channel."""


_CPU = DeviceDefaults(chunk_size=32, per_channel="chunked")
_GPU = DeviceDefaults(chunk_size=128, per_channel="tree")


def device_defaults(device_type: str) -> DeviceDefaults:
    """The defaults of a device; all that is no CPU counts as a GPU.

    A CPU reads small chunks from its cache and pays little for a loop; a GPU wants few, large
    operations.

    Example:
        >>> device_defaults("cuda")
        DeviceDefaults(chunk_size=128, per_channel='tree')
    """
    return _CPU if device_type == "cpu" else _GPU
