"""Every convolution equals the dense one: values, input and weight gradients."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lidar.sparse.layers import (
    SparseConv3d,
    SparseConvBase,
    SparseInverseConv3d,
    SparseSequential,
    SubMConv3d,
    VoxelBatchNorm,
    native_layout,
)
from lidar.sparse.reference import reference_convolution, reference_outputs
from lidar.sparse.tensor import SparseTensor

SHAPES = [(5, 6, 7), (4, 4, 8), (3, 9, 2), (3, 3, 3)]
STRIDES = [
    (3, 2, 1),
    (3, 2, (0, 1, 1)),
    (3, 1, 1),
    ((3, 1, 1), (2, 1, 1), 0),
    (2, 2, 0),
    ((1, 3, 2), (1, 3, 1), (0, 2, 1)),
]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def cloud(
    shape: tuple[int, int, int], *, channels: int = 3, share: float = 0.3, batch: int = 2
) -> SparseTensor:
    coords = (torch.rand(batch, *shape) < share).nonzero()
    coords[-1] = torch.tensor([batch - 1, *(size - 1 for size in shape)])  # a corner
    coords = coords.unique(dim=0)
    feats = torch.randn(len(coords), channels, dtype=torch.float64, requires_grad=True)
    return SparseTensor(coords, feats, shape, batch)


def read(volume: Tensor, x: SparseTensor) -> Tensor:
    b, z, y, x_ = x.coords.long().unbind(1)
    return volume[b, :, z, y, x_]


def dense_kernel(layer: SparseConvBase) -> Tensor:
    return layer.weight.permute(0, 4, 1, 2, 3)


def assert_same(ours: Tensor, theirs: Tensor, leaves: list[Tensor]) -> None:
    """Values and all gradients of a random projection agree to 1e-12."""
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    projection = torch.randn_like(ours)
    mine = torch.autograd.grad((ours * projection).sum(), leaves)
    expected = torch.autograd.grad((theirs * projection).sum(), leaves)
    for a, b in zip(mine, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kernel", [3, (1, 3, 5), 1])
def test_submanifold_equals_dense(
    shape: tuple[int, int, int], kernel: int | tuple[int, int, int]
) -> None:
    x = cloud(shape)
    layer = SubMConv3d(3, 4, kernel).double()
    volume = functional.conv3d(x.dense(), dense_kernel(layer), layer.bias, padding=layer.padding)
    assert layer.bias is not None
    assert_same(layer(x).feats, read(volume, x), [x.feats, layer.weight, layer.bias])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sizes", STRIDES)
def test_strided_equals_dense(shape: tuple[int, int, int], sizes: tuple) -> None:
    kernel, stride, padding = sizes
    x = cloud(shape)
    layer = SparseConv3d(3, 4, kernel, stride=stride, padding=padding, bias=False).double()
    volume = functional.conv3d(
        x.dense(), dense_kernel(layer), stride=layer.stride, padding=layer.padding
    )
    out = layer(x)
    assert out.shape == tuple(volume.shape[2:])
    assert_same(out.dense(), volume, [x.feats, layer.weight])
    expected = reference_outputs(
        x.coords, shape, kernel=layer.kernel_size, stride=layer.stride, padding=layer.padding
    )
    assert torch.equal(out.coords, expected)


@pytest.mark.parametrize("sizes", STRIDES)
def test_inverse_equals_dense_transposed(sizes: tuple) -> None:
    kernel, stride, padding = sizes
    x = cloud((5, 6, 7))
    down = SparseConv3d(3, 2, kernel, stride=stride, padding=padding).double()
    up = SparseInverseConv3d(2, 4, kernel, stride=stride, padding=padding).double()
    coarse = down(x)
    feats = coarse.feats.detach().requires_grad_()
    coarse = coarse.with_feats(feats)
    out = up(coarse, x)
    extra = [
        size - ((cells - 1) * step - 2 * pad + taps)
        for size, cells, step, pad, taps in zip(
            x.shape, coarse.shape, up.stride, up.padding, up.kernel_size, strict=True
        )
    ]
    volume = functional.conv_transpose3d(
        coarse.dense(),
        dense_kernel(up).transpose(0, 1),
        up.bias,
        stride=up.stride,
        padding=up.padding,
        output_padding=extra if max(up.stride) > 1 else 0,
    )
    assert up.bias is not None
    assert_same(out.feats, read(volume, x), [feats, up.weight, up.bias])


def test_reference_loop_agrees() -> None:
    x = cloud((4, 3, 5))
    layer = SubMConv3d(3, 2, bias=False).double()
    expected = reference_convolution(x.coords, x.feats, layer.weight, x.coords, padding=(1, 1, 1))
    assert_same(layer(x).feats, expected, [x.feats, layer.weight])


def test_many_tiles_equal_one(monkeypatch: pytest.MonkeyPatch) -> None:
    x = cloud((5, 6, 7))
    layers = [SubMConv3d(3, 4).double(), SparseConv3d(3, 4, 3, stride=2, padding=1).double()]
    whole = [layer(x).feats for layer in layers]
    monkeypatch.setattr("lidar.sparse.tiles.TILE_ROWS", {"cpu": 7})
    again = SparseTensor(x.coords, x.feats, x.shape, x.batch_size)
    for layer, expected in zip(layers, whole, strict=True):
        assert_same(layer(again).feats, expected, [x.feats, layer.weight])


def test_one_voxel_and_none() -> None:
    layers = [
        SubMConv3d(3, 4).double(),
        SparseConv3d(3, 4, 3, stride=2, padding=1).double(),
    ]
    for layer in layers:
        one = SparseTensor(torch.tensor([[0, 2, 2, 2]]), torch.ones(1, 3).double(), (5, 5, 5), 1)
        torch.testing.assert_close(
            layer(one).feats, layer.weight[:, 1, 1, 1].sum(1)[None] + layer.bias
        )
        feats = torch.zeros(0, 3, dtype=torch.float64, requires_grad=True)
        none = SparseTensor(torch.zeros(0, 4, dtype=torch.int32), feats, (5, 5, 5), 1)
        out = layer(none)
        assert out.feats.shape == (0, 4)
        assert not out.dense().any()
        out.feats.sum().backward()
        assert layer.weight.grad is not None and not layer.weight.grad.any()


@pytest.mark.parametrize("wanted", ["feats", "weight", "bias"])
def test_gradients_one_at_a_time(wanted: str) -> None:
    x = cloud((4, 4, 4))
    layer = SubMConv3d(3, 4).double()
    leaves = {"feats": x.feats, "weight": layer.weight, "bias": layer.bias}
    together = torch.autograd.grad(layer(x).feats.square().sum(), list(leaves.values()))
    for name, leaf in leaves.items():
        leaf.requires_grad_(name == wanted)
    (alone,) = torch.autograd.grad(layer(x).feats.square().sum(), leaves[wanted])
    torch.testing.assert_close(alone, together[list(leaves).index(wanted)])


def test_maps_are_shared_between_layers() -> None:
    x = cloud((4, 4, 4))
    first, second = SubMConv3d(3, 3).double(), SubMConv3d(3, 3).double()
    out = second(first(x))
    assert out.sites is x.sites
    assert len(x.sites.submanifold_maps) == 1


def test_inverse_refuses_foreign_voxels() -> None:
    x = cloud((5, 6, 7))
    coarse = SparseConv3d(3, 2, 3, stride=2, padding=1).double()(x)
    other = SparseInverseConv3d(2, 3, 3, stride=2, padding=0).double()
    with pytest.raises(ValueError, match="inverts"):
        other(coarse, x)


def test_even_submanifold_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="odd"):
        SubMConv3d(3, 3, 2).double()(cloud((4, 4, 4)))


def test_grid_too_small_for_the_stride() -> None:
    with pytest.raises(ValueError, match="leaves no cell"):
        SparseConv3d(3, 3, 3, stride=2, padding=0).double()(cloud((2, 4, 4)))


HALVES = {torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Allowed difference to fp32, relative to the largest value."""


@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize("name", ["submanifold", "strided", "inverse"])
def test_half_precision_is_near_fp32(name: str, kind: torch.dtype) -> None:
    x = cloud((6, 8, 8), channels=16)
    x = x.with_feats(x.feats.detach().float().requires_grad_())
    if name == "inverse":
        coarse = SparseConv3d(16, 16, 3, stride=2, padding=1)(x)
        feats = coarse.feats.detach().requires_grad_()
        up = SparseInverseConv3d(16, 16, 3, stride=2, padding=1)
        run, layer = partial(up, coarse.with_feats(feats), x), up
    else:
        feats = x.feats
        down = SparseConv3d(16, 16, 3, stride=2, padding=1)
        layer = down if name == "strided" else SubMConv3d(16, 16)
        run = partial(layer, x)
    results = []
    for enabled in (True, False):
        with torch.autocast("cpu", kind, enabled=enabled):
            out = run().feats
        assert out.dtype == (kind if enabled else torch.float32)
        leaves = [feats, layer.weight, layer.bias]
        grads = torch.autograd.grad(out.float().square().sum(), leaves)
        assert {grad.dtype for grad in grads} == {torch.float32}
        results.append([out.detach().float(), *grads])
    for low, full in zip(*results, strict=True):
        assert float((low - full).abs().max() / full.abs().max()) < HALVES[kind]


@pytest.mark.parametrize(("kind", "large"), [(torch.bfloat16, 256.0), (torch.float16, 2048.0)])
def test_half_products_are_summed_in_fp32(kind: torch.dtype, large: float) -> None:
    """26 ones beside a number whose neighbours in half precision are 2 apart."""
    coords = torch.cat([torch.zeros(27, 1), torch.ones(3, 3, 3).nonzero()], dim=1).int()
    layer = SubMConv3d(1, 1)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        layer.weight[0, 1, 1, 1] = large
        layer.bias.zero_()
    feats = torch.ones(27, 1, requires_grad=True)
    with torch.autocast("cpu", kind):
        out = layer(SparseTensor(coords, feats, (3, 3, 3), 1)).feats
    assert out[13].item() == large + 26
    down = torch.ones(27, 1, dtype=kind)
    down[0], down[1] = large, 2.0
    by_feats, by_weight, by_bias = torch.autograd.grad(
        out, [feats, layer.weight, layer.bias], down, retain_graph=True
    )
    # 24 ones, 2 and `large` from the neighbours, `large` from itself; rounded once, at the end.
    assert by_feats[13].item() == torch.tensor(2 * large + 26).to(kind).item()
    assert by_weight[0, 1, 1, 1, 0].item() == torch.tensor(large + 27).to(kind).item()
    assert by_bias.item() == large + 27  # the bias is fp32
    (by_bias,) = torch.autograd.grad(out, layer.bias, torch.full_like(out, 4096.0))
    assert by_bias.item() == 27 * 4096  # fp16 ends at 65504


def test_fp16_products_that_cancel_do_not_overflow_on_cpu() -> None:
    layer = SubMConv3d(1, 1, (1, 1, 3), bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([300.0, 1.0, -300.0]).view(1, 1, 1, 3, 1))
    coords = torch.tensor([[0, 0, 0, x] for x in range(3)])
    feats = torch.tensor([[300.0], [5.0], [300.0]], requires_grad=True)
    with torch.autocast("cpu", torch.float16):
        out = layer(SparseTensor(coords, feats, (1, 1, 3), 1)).feats
    assert out[1].item() == 5.0  # 90,000 + 5 - 90,000


@pytest.mark.parametrize("channels", [(3, 4), (4, 4), (16, 5)])
def test_both_weight_layouts_load(channels: tuple[int, int]) -> None:
    source, copy, moved = (SubMConv3d(*channels) for _ in range(3))
    copy.load_state_dict(source.state_dict())
    old = {**source.state_dict(), "weight": source.weight.detach().permute(1, 2, 3, 4, 0)}
    moved.load_state_dict(old)
    assert torch.equal(copy.weight, source.weight)
    assert torch.equal(moved.weight, source.weight)


def test_layout_is_seen_despite_other_inputs() -> None:
    weight = torch.randn(3, 3, 3, 4, 16)
    assert torch.equal(native_layout(weight, (16, 3, 3, 3, 5)), weight.permute(4, 0, 1, 2, 3))


def test_batch_norm_of_many_one_and_no_voxel() -> None:
    ours, torchs = VoxelBatchNorm(3, eps=1e-3, momentum=0.01), nn.BatchNorm1d(3, 1e-3, 0.01)
    x = torch.randn(9, 3)
    torch.testing.assert_close(ours(x), torchs(x))
    with torch.no_grad():
        ours.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
    mean, var = ours.running_mean.clone(), ours.running_var.clone()
    one = torch.randn(1, 3)
    torch.testing.assert_close(ours(one), ours.bias[None])
    torch.testing.assert_close(ours.running_mean, 0.99 * mean + 0.01 * one[0])
    assert torch.equal(ours.running_var, var)
    assert ours(x[:0]).shape == (0, 3)
    ours.eval()
    torch.testing.assert_close(
        ours(one), (one - ours.running_mean) / (ours.running_var + 1e-3).sqrt() + ours.bias
    )


def test_sequential_acts_on_features() -> None:
    x = cloud((4, 4, 4))
    block = SparseSequential(SubMConv3d(3, 4), VoxelBatchNorm(4), nn.ReLU()).double()
    out = block(x)
    assert out.sites is x.sites
    assert bool((out.feats >= 0).all())
