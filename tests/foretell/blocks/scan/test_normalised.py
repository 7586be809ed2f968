"""Normalised states: against a loop that cuts the norm back where the positions say."""

import pytest
import torch

from foretell.blocks.scan import naive
from foretell.blocks.scan.chunked import ssd
from foretell.blocks.scan.normalised import end_position, norm_scale, normalised_scan

F64 = torch.float64
BOUND = 1.5


def scan(x, dt, B, C, h):
    return ssd(x, -dt, B, C, h, chunk_size=4)


def make_inputs(batch, time):
    torch.manual_seed(0)
    x, B, C = (torch.randn(batch, time, *s, dtype=F64) for s in ((4, 3), (2, 2), (2, 2)))
    dt = 0.3 * torch.rand(batch, time, 4, dtype=F64)
    return {"x": x, "dt": dt, "B": B, "C": C, "h0": torch.randn(batch, 4, 3, 2, dtype=F64)}


def looped(x, dt, B, C, h0, position, *, every, lengths, reset):
    """Row by row, step by step."""
    out, ends = torch.zeros_like(x), []
    for row in range(len(x)):
        h, place = h0[row : row + 1], int(position[row])
        for t in range(int(lengths[row])):
            if reset[row, t]:
                h, place = torch.zeros_like(h), 0
            now = (slice(row, row + 1), slice(t, t + 1))
            y, h = naive.ssd(x[now], -dt[now], B[now], C[now], h)
            place += 1
            if place % every == 0:
                norm = h.flatten(2).norm(dim=2)
                scale = torch.where(norm > BOUND, BOUND / norm, 1.0)
                h, y = h * scale[..., None, None], y * scale[:, None, :, None]
            out = out.index_put((torch.tensor(row), torch.tensor(t)), y[0, 0])
        ends.append(h)
    return out, torch.cat(ends)


@pytest.mark.parametrize("every", [1, 3, 4, 40])
@pytest.mark.parametrize("resets", [False, True])
def test_equals_the_loop_with_its_gradients(every, resets):
    given = make_inputs(4, 17)
    sources = [value.requires_grad_() for value in given.values()]
    position, lengths = torch.tensor([0, 5, 3, 38]), torch.tensor([17, 9, 0, 2])
    reset = torch.zeros(4, 17, dtype=torch.bool)
    if resets:
        reset[0, [0, 7, 8]] = reset[1, 4] = True
    expected = looped(**given, position=position, every=every, lengths=lengths, reset=reset)
    y, h = normalised_scan(
        scan, **given, position=position, max_norm=BOUND, every=every, lengths=lengths,
        reset=reset if resets else None,
    )  # fmt: skip
    y = y.masked_fill((torch.arange(17) >= lengths[:, None])[..., None, None], 0)
    results = [(y, h), expected]
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    grads = [
        torch.autograd.grad(a.square().sum() + b.sin().sum(), sources, materialize_grads=True,
                            allow_unused=True)
        for a, b in results
    ]  # fmt: skip
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)


def test_the_scale_is_at_most_one():
    h = torch.zeros(1, 4, 1, 2)
    h[0, 1, 0, 0], h[0, 2, 0], h[0, 3, 0] = 2.0, torch.tensor([3.0, 4.0]), torch.tensor([6.0, 8.0])
    assert norm_scale(h, 5.0).tolist() == [[1.0, 1.0, 1.0, 0.5]]


def test_positions_count_from_the_last_reset():
    begun = torch.tensor([3, 3, 0])
    assert end_position(begun, 4).tolist() == [7, 7, 4]
    reset = torch.zeros(3, 4, dtype=torch.bool)
    reset[0, 3] = reset[1, [0, 1]] = True
    lengths = torch.tensor([4, 2, 0])
    assert end_position(begun, 4, lengths=lengths, reset=reset).tolist() == [1, 1, 0]
