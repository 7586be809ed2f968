"""3D encoders: points or voxels in, feature volumes out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lidar.encoders.build import build_encoder as build_encoder
    from lidar.encoders.voxel_resnet import VoxelFeatures as VoxelFeatures
    from lidar.encoders.voxel_resnet import VoxelResBackBone8x as VoxelResBackBone8x

__all__ = ["VoxelFeatures", "VoxelResBackBone8x", "build_encoder"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    place = "build" if name == "build_encoder" else "voxel_resnet"
    return getattr(import_module(f"{__name__}.{place}"), name)
