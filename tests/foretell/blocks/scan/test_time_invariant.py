import pytest
import torch

from foretell.blocks.scan.time_invariant import BlockSystem, time_invariant_scan


def dense_system(Abar, Bbar, C, block):
    """Powers of small matrices, one by one."""
    power = [torch.linalg.matrix_power(Abar, k) for k in range(block + 1)]

    def advance(h, steps):
        chosen = power[steps] if isinstance(steps, int) else torch.stack(power)[steps]
        return (chosen @ h[..., None])[..., 0]

    reach = torch.stack([(p @ Bbar[..., None])[..., 0] for p in power[:-1]], dim=-1)
    read = torch.stack([C @ p for p in power[1:]], dim=-1)
    return BlockSystem(C @ reach, reach, read, advance)


def scan_loop(u, h0, Abar, Bbar, C):
    h, y = h0, []
    for u_t in u.unbind(1):
        h = (Abar @ h[..., None])[..., 0] + Bbar * u_t[..., None]
        y.append((C @ h[..., None])[..., 0])
    return torch.stack(y, 1), h


@pytest.mark.parametrize("block", [1, 4, 5, 13])
@pytest.mark.parametrize("time", [1, 4, 13])
def test_equals_the_loop_with_gradients(block, time, assert_same):
    torch.manual_seed(0)
    inputs = {
        "u": torch.randn(2, time, 3).double(),
        "h0": torch.randn(2, 3, 4).double(),
        "Abar": torch.randn(3, 4, 4).double() / 3,
        "Bbar": torch.randn(3, 4).double(),
        "C": torch.randn(3, 2, 4).double(),
    }

    def fast(u, h0, Abar, Bbar, C):
        return time_invariant_scan(u, h0, dense_system(Abar, Bbar, C, block))

    assert_same(fast, scan_loop, inputs)


@pytest.mark.parametrize("block", [2, 3, 8])
def test_a_sum_stops_at_every_row_s_length(block):
    one = torch.ones(1, 1, dtype=torch.float64)
    system = dense_system(one[None], one, one[None], block)
    u = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 0.0, 0.0], [0.0] * 4]).double()[..., None]
    h0 = torch.tensor([10.0, 20.0, 30.0]).double()[:, None, None]
    y, h = time_invariant_scan(u, h0, system, lengths=torch.tensor([4, 2, 0]))
    torch.testing.assert_close(h.flatten().tolist(), [20.0, 23.0, 30.0])
    torch.testing.assert_close(y[0].flatten().tolist(), [11.0, 13.0, 16.0, 20.0])


def test_no_steps():
    one = torch.ones(1, 1)
    y, h = time_invariant_scan(
        torch.zeros(2, 0, 1), one.expand(2, 1, 1), dense_system(one[None], one, one[None], 3)
    )
    assert y.shape == (2, 0, 1, 1) and torch.equal(h, torch.ones(2, 1, 1))
