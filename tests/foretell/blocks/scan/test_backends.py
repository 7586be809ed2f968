"""Every block that lets its scan be chosen computes the same with each of our forms."""

from functools import partial

import pytest
import torch
from jaxtyping import TypeCheckError
from torch.utils import _pytree

from foretell.blocks.aaren import Aaren, AarenBlock
from foretell.blocks.mamba2 import Mamba2
from foretell.blocks.prefix_attention import PrefixLinearAttention
from foretell.blocks.scan import backends, chunked, softmax, window
from foretell.blocks.scan.backends import (
    LINEAR_SCANS,
    SOFTMAX_SCANS,
    SSD_SCANS,
    choose_scan,
    linear_scan_on,
)
from foretell.blocks.scan.chunked import ssd
from foretell.blocks.scan.device import DeviceDefaults, device_defaults
from foretell.blocks.scan.softmax import softmax_scan

DIM = 4
BACKENDS = ("naive", "chunked", "tree")
MAKERS = {
    "aaren": lambda **o: Aaren(DIM, 2, **o),
    "aaren_block": lambda **o: AarenBlock(DIM, 2, **o),
    "prefix_attention": lambda **o: PrefixLinearAttention(DIM, 2, feature_dim=2, **o),
    "mamba2": lambda **o: Mamba2(DIM, 3, head_dim=2, **o),
    "mamba2_channel": lambda **o: Mamba2(DIM, 3, head_dim=2, per_channel=True, **o),
    "mamba2_norm": lambda **o: Mamba2(DIM, 3, head_dim=2, max_state_norm=0.02, **o),
}


def draw(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("time", [1, 37, 65])
@pytest.mark.parametrize("resets", [False, True])
def test_backends_agree_in_values_and_gradients(name, time, resets):
    options = {}
    if resets:
        steps = torch.arange(time).expand(3, -1)
        options = {"lengths": torch.tensor([time, 0, time // 2]), "reset": steps % 13 == 5}
    results = []
    for backend in ("auto", *BACKENDS):
        torch.manual_seed(0)
        block = MAKERS[name](scan_backend=backend).double()
        with torch.no_grad():
            _, state = block(draw(3, 3, DIM, seed=2))
        names = [field for field in ("u", "w", "s", "z", "ssm", "conv") if hasattr(state, field)]
        leaves = [getattr(state, field).clone().requires_grad_() for field in names]
        x = draw(3, time, DIM).requires_grad_()
        y, end = block(x, state._replace(**dict(zip(names, leaves, strict=True))), **options)
        loss = y.square().sum() + sum(getattr(end, field).square().sum() for field in names)
        grads = torch.autograd.grad(
            loss, [x, *leaves, *block.parameters()], allow_unused=True, materialize_grads=True
        )
        results.append([y, *(t for t in _pytree.tree_leaves(end)), *grads])
    for other in results[1:]:
        for one, value in zip(results[0], other, strict=True):
            torch.testing.assert_close(value, one, rtol=1e-9, atol=1e-9)


def test_the_named_scan_is_the_one_that_runs():
    for scans, default in ((SSD_SCANS, ssd), (SOFTMAX_SCANS, softmax_scan)):
        assert tuple(scans) == BACKENDS and scans["chunked"] is default
        assert all(choose_scan(scans, name, default) is scans[name] for name in BACKENDS)
    own = partial(softmax_scan, chunk_size=5)
    assert choose_scan(SOFTMAX_SCANS, "auto", own) is own
    assert Aaren(DIM, 2, scan_backend="tree").scan_fn is SOFTMAX_SCANS["tree"]
    assert PrefixLinearAttention(DIM, 2, scan_backend="naive").scan_fn is SSD_SCANS["naive"]


def test_the_device_gives_chunks_and_the_form_per_channel():
    assert device_defaults("cpu") == (32, "chunked")
    assert device_defaults("cuda") == device_defaults("mps") == (128, "tree")
    for name in BACKENDS:
        assert linear_scan_on("cuda", name) is linear_scan_on("cpu", name) is LINEAR_SCANS[name]
    assert linear_scan_on("cuda", "auto") is LINEAR_SCANS["tree"]


def test_the_defaults_are_taken_at_the_scan(monkeypatch):
    asked = []

    def defaults(device_type):
        asked.append(device_type)
        return DeviceDefaults(chunk_size=1, per_channel="naive")

    seen = draw(3, 7, DIM)
    blocks = [make().double() for make in MAKERS.values()]
    blocks.append(Mamba2(DIM, 3, head_dim=2, window=3).double())
    expected = [block(seen)[0] for block in blocks]
    for module in (chunked, softmax, window, backends):
        monkeypatch.setattr(module, "device_defaults", defaults)
    for name, block, y in zip([*MAKERS, "window"], blocks, expected, strict=True):
        asked.clear()
        torch.testing.assert_close(block(seen)[0], y, rtol=1e-9, atol=1e-9)
        # A norm at every step runs the loop, which has no sizes.
        assert set(asked) == ({"cpu"} if name != "mamba2_norm" else set()), name
    asked.clear()
    Mamba2(DIM, 3, head_dim=2, chunk_size=4).double()(seen)
    assert not asked


def test_a_scan_of_the_caller_excludes_a_named_one():
    own = partial(softmax_scan, chunk_size=5)
    with pytest.raises(ValueError, match="scan_fn needs scan_backend auto, got 'tree'"):
        Aaren(DIM, 2, scan_fn=own, scan_backend="tree")
    with pytest.raises((ValueError, TypeCheckError), match="scan_backend"):
        Aaren(DIM, 2, scan_backend="fused")
