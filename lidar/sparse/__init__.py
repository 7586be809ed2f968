"""Sparse tensors and convolutions in plain PyTorch."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lidar.sparse.layers import SparseConv3d as SparseConv3d
    from lidar.sparse.layers import SparseInverseConv3d as SparseInverseConv3d
    from lidar.sparse.layers import SubMConv3d as SubMConv3d
    from lidar.sparse.tensor import SparseTensor as SparseTensor

__all__ = ["SparseConv3d", "SparseInverseConv3d", "SparseTensor", "SubMConv3d"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    place = "tensor" if name == "SparseTensor" else "layers"
    return getattr(import_module(f"{__name__}.{place}"), name)
