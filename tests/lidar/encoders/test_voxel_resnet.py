"""The backbone: OpenPCDet's names and sizes, its centres, and what it must not see."""

from dataclasses import replace

import pytest
import torch

from lidar.config import EncoderConfig
from lidar.encoders import VoxelResBackBone8x, build_encoder
from lidar.geometry.voxel_grid import Stage, VoxelGrid, volume_centres, voxelise_mean
from lidar.sparse import SparseTensor

SMALL = EncoderConfig(channels=[4, 4, 6, 8], blocks_per_stage=1, out_channels=8)
GRID = VoxelGrid([-3.2, -3.2, -4.0, 3.2, 3.2, 4.0], [0.1, 0.1, 0.2])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def points_around(num_points: int) -> torch.Tensor:
    return torch.cat([6 * torch.rand(num_points, 3) - 3, torch.rand(num_points, 2)], 1)


def encode(encoder: VoxelResBackBone8x, points: torch.Tensor) -> torch.Tensor:
    coords, feats = voxelise_mean(points, torch.zeros(len(points), dtype=torch.long), GRID)
    return encoder(SparseTensor(coords, feats, GRID.sparse_shape_zyx, 1)).x_conv4.dense()


def test_published_sizes() -> None:
    for bias, tensors in ((True, 142), (False, 126)):
        state = build_encoder(EncoderConfig(residual_bias=bias), 5).state_dict()
        weights = [tensor for tensor in state.values() if tensor.ndim == 5]
        assert len(state) == tensors
        assert len(weights) == 21
        assert sum(weight.numel() for weight in weights) == 2_691_696
    assert state["conv_out.0.weight"].numel() == 49_152
    assert sum(key.startswith("conv_out") for key in state) == 6


def test_names_are_openpcdets() -> None:
    state = build_encoder(EncoderConfig(), 5).state_dict()
    assert state["conv_input.0.weight"].shape == (16, 3, 3, 3, 5)
    assert state["conv1.0.conv1.weight"].shape == (16, 3, 3, 3, 16)
    assert state["conv1.1.conv2.bias"].shape == (16,)
    assert state["conv2.0.0.weight"].shape == (32, 3, 3, 3, 16)
    assert state["conv2.0.1.running_var"].shape == (32,)
    assert state["conv4.2.bn2.weight"].shape == (128,)
    assert state["conv_out.0.weight"].shape == (128, 3, 1, 1, 128)


def test_batch_norm_constants() -> None:
    encoder = build_encoder(SMALL, 5)
    norms = [m for m in encoder.modules() if isinstance(m, torch.nn.BatchNorm1d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}


def test_shapes_of_every_stage() -> None:
    encoder = build_encoder(SMALL, 5)
    coords, feats = voxelise_mean(points_around(200), torch.zeros(200, dtype=torch.long), GRID)
    out = encoder(SparseTensor(coords, feats, GRID.sparse_shape_zyx, 1))
    assert out.x_conv1.shape == (41, 64, 64)
    assert out.x_conv2.shape == (21, 32, 32)
    assert out.x_conv3.shape == (11, 16, 16)
    assert out.x_conv4.shape == volume_centres(GRID, "x_conv4")[2] == (5, 8, 8)
    assert out.conv_out.shape == volume_centres(GRID, "conv_out")[2] == (2, 8, 8)


def test_stopping_at_x_conv4_leaves_conv_out_alone() -> None:
    encoder = build_encoder(SMALL, 5)
    coords, feats = voxelise_mean(points_around(200), torch.zeros(200, dtype=torch.long), GRID)
    x = SparseTensor(coords, feats, GRID.sparse_shape_zyx, 1)
    out = encoder(x, until="x_conv4")
    assert out.conv_out is None
    assert int(encoder.conv_out[1].num_batches_tracked) == 0
    out.x_conv4.feats.sum().backward()
    assert encoder.conv_out[0].weight.grad is None


@pytest.mark.parametrize("count", [0, 1, 2])
def test_trains_on_hardly_any_voxel(count: int) -> None:
    encoder = build_encoder(SMALL, 5)
    volume = encode(encoder, points_around(count))
    assert bool(torch.isfinite(volume).all())
    volume.sum().backward()
    for name, parameter in encoder.named_parameters():
        if parameter.grad is not None:
            assert bool(torch.isfinite(parameter.grad).all()), name


@pytest.mark.parametrize(
    ("source", "cell"),
    [
        ("x_conv1", (7, 9, 20)),
        ("x_conv2", (11, 4, 9)),
        ("x_conv3", (5, 4, 3)),
        ("x_conv4", (2, 2, 1)),
        ("conv_out", (1, 1, 2)),
    ],
)
def test_impulse_is_centred_on_the_cell(source: Stage, cell: tuple[int, int, int]) -> None:
    """T19: with equal weights, the voxels that a cell answers to are centred on its centre."""
    grid = VoxelGrid([-1.6, -1.6, -8.0, 1.6, 1.6, 8.0], [0.1, 0.1, 0.2])
    encoder = build_encoder(replace(SMALL, residual_bias=False), 1).eval().double()
    with torch.no_grad():
        for name, parameter in encoder.named_parameters():
            if parameter.ndim == 5:  # residual branches off: their reach leaves this small grid
                parameter.fill_(0.0 if ".conv1." in name or ".conv2." in name else 1.0)
    shape = grid.sparse_shape_zyx
    coords = torch.cartesian_prod(torch.tensor([0]), *(torch.arange(n) for n in shape))
    impulses = torch.ones(len(coords), 1, dtype=torch.float64, requires_grad=True)
    out = getattr(encoder(SparseTensor(coords, impulses, shape, 1)), source)
    (weights,) = torch.autograd.grad(out.dense()[0, 0][cell], impulses)
    size = torch.tensor(grid.voxel_size, dtype=torch.float64).flip(0)
    low = torch.tensor(grid.origin, dtype=torch.float64).flip(0)
    centre = (weights * (low + (coords[:, 1:] + 0.5) * size)).sum(0) / weights.sum()
    origin, step, cells = volume_centres(grid, source)
    assert out.shape == cells
    expected = [origin[2 - axis] + cell[axis] * step[2 - axis] for axis in range(3)]
    torch.testing.assert_close(centre, torch.tensor(expected, dtype=torch.float64))


def test_masked_points_change_nothing() -> None:
    """T20: what is not given to the encoder cannot reach it; other samples do not either."""
    encoder = build_encoder(SMALL, 5).eval()
    points = points_around(300)
    batch = torch.arange(300) % 2
    coords, feats = voxelise_mean(points, batch, GRID)
    both = encoder(SparseTensor(coords, feats, GRID.sparse_shape_zyx, 2)).x_conv4.dense()
    alone = encode(encoder, points[batch == 0])
    torch.testing.assert_close(both[:1], alone, rtol=1e-5, atol=1e-6)


def test_point_order_does_not_matter() -> None:
    encoder = build_encoder(SMALL, 5).eval()
    points = points_around(300)
    shuffled = points[torch.randperm(300)]
    torch.testing.assert_close(
        encode(encoder, points), encode(encoder, shuffled), rtol=1e-5, atol=1e-6
    )


def test_wrong_config_is_named() -> None:
    with pytest.raises(ValueError, match="channels needs four"):
        EncoderConfig(channels=[16, 32])
    with pytest.raises(ValueError, match="blocks_per_stage must be at least 1"):
        EncoderConfig(blocks_per_stage=0)
