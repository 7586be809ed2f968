"""VoxelResBackBone8x: the residual sparse 3D backbone of OpenPCDet's CenterPoint and TransFusion-L.

SubM 3x3x3 stem, four stages with residual blocks, strides 1-2-2-2, then conv_out k(3,1,1)
s(2,1,1). Parameter names and shapes are OpenPCDet's, so that weights travel both ways.
"""

from typing import Literal, NamedTuple

from torch import nn

from lidar.config import EncoderConfig
from lidar.geometry.voxel_grid import STAGE_PADDINGS
from lidar.sparse.layers import SparseConv3d, SparseSequential, SubMConv3d, VoxelBatchNorm
from lidar.sparse.tensor import SparseTensor


class VoxelFeatures(NamedTuple):
    """Outputs of the backbone, fine to coarse."""

    x_conv1: SparseTensor
    """Stride 1."""
    x_conv2: SparseTensor
    """Stride 2."""
    x_conv3: SparseTensor
    """Stride 4."""
    x_conv4: SparseTensor
    """Stride 8."""
    conv_out: SparseTensor | None
    """Stride 8 in x and y, 16 in z; none when it was not asked for."""


class SparseBasicBlock(nn.Module):
    """Two submanifold convolutions and a skip: relu(bn2(conv2(relu(bn1(conv1(x))))) + x)."""

    def __init__(self, channels: int, *, bias: bool) -> None:
        """Build the block.

        Args:
            channels: Width.
            bias: Bias in both convolutions.
        """
        super().__init__()
        self.conv1 = SubMConv3d(channels, channels, bias=bias)
        self.bn1 = _norm(channels)
        self.relu = nn.ReLU()
        self.conv2 = SubMConv3d(channels, channels, bias=bias)
        self.bn2 = _norm(channels)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Apply the block; voxels stay."""
        hidden = self.conv1(x)
        hidden = self.conv2(hidden.with_feats(self.relu(self.bn1(hidden.feats))))
        return x.with_feats(self.relu(self.bn2(hidden.feats) + x.feats))


class VoxelResBackBone8x(nn.Module):
    """21 sparse convolutions; 2,691,696 convolution weights at the default widths and 5 inputs."""

    def __init__(self, config: EncoderConfig, in_channels: int) -> None:
        """Build the backbone.

        Args:
            config: Widths and bias.
            in_channels: Features of an input voxel.
        """
        super().__init__()
        self.config = config
        self.in_channels = in_channels
        widths = config.channels
        self.conv_input = SparseSequential(
            SubMConv3d(in_channels, widths[0], bias=False), _norm(widths[0]), nn.ReLU()
        )
        self.conv1 = SparseSequential(*_blocks(widths[0], config))
        self.conv2 = _stage(widths[0], widths[1], STAGE_PADDINGS[0], config)
        self.conv3 = _stage(widths[1], widths[2], STAGE_PADDINGS[1], config)
        self.conv4 = _stage(widths[2], widths[3], STAGE_PADDINGS[2], config)
        self.conv_out = SparseSequential(
            SparseConv3d(
                widths[3], config.out_channels, (3, 1, 1), stride=(2, 1, 1), padding=0, bias=False
            ),
            _norm(config.out_channels),
            nn.ReLU(),
        )

    def forward(
        self, x: SparseTensor, *, until: Literal["x_conv4", "conv_out"] = "conv_out"
    ) -> VoxelFeatures:
        """Encode voxels.

        Args:
            x: Input voxels, z one cell larger than the grid (`VoxelGrid.sparse_shape_zyx`).
            until: Last layer that is computed; x_conv4 leaves conv_out and its statistics alone.

        Returns:
            Features of every stage.
        """
        x_conv1 = self.conv1(self.conv_input(x))
        x_conv2 = self.conv2(x_conv1)
        x_conv3 = self.conv3(x_conv2)
        x_conv4 = self.conv4(x_conv3)
        conv_out = self.conv_out(x_conv4) if until == "conv_out" else None
        return VoxelFeatures(x_conv1, x_conv2, x_conv3, x_conv4, conv_out)


def _norm(channels: int) -> VoxelBatchNorm:
    return VoxelBatchNorm(channels, eps=1e-3, momentum=0.01)


def _blocks(channels: int, config: EncoderConfig) -> list[SparseBasicBlock]:
    return [
        SparseBasicBlock(channels, bias=config.residual_bias)
        for _ in range(config.blocks_per_stage)
    ]


def _stage(
    in_channels: int, channels: int, padding: tuple[int, int, int], config: EncoderConfig
) -> SparseSequential:
    down = SparseSequential(
        SparseConv3d(in_channels, channels, 3, stride=2, padding=padding, bias=False),
        _norm(channels),
        nn.ReLU(),
    )
    return SparseSequential(down, *_blocks(channels, config))
