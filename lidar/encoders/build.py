"""The encoder that a configuration names."""

from lidar.config import EncoderConfig
from lidar.encoders.voxel_resnet import VoxelResBackBone8x


def build_encoder(config: EncoderConfig, in_channels: int) -> VoxelResBackBone8x:
    """Build the 3D backbone.

    Args:
        config: Which backbone, and its widths.
        in_channels: Features of an input voxel.

    Returns:
        A module from `SparseTensor` to the features of every stage.
    """
    match config.name:
        case "voxel_resnet":
            return VoxelResBackBone8x(config, in_channels)
