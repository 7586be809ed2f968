"""S4D: the hold, the kernel from explicit powers, conjugate pairs, blocks of time."""

import math

import numpy as np
import pytest
import scipy.signal
import torch

from foretell.blocks.s4d import S4D, S4dState

DTYPE = torch.float64
INITS = ["lin", "inv", "legs", "real"]


def build(state_dim=6, dim=2, **options):
    torch.manual_seed(0)
    return S4D(dim, state_dim, **options).double()


def randn(*shape, seed=1, dtype=DTYPE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def close(actual, expected, tolerance=1e-9):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def coefficients(mixer):
    """A, Abar and Bbar from the formulas, and complex C."""
    A = -mixer.log_decay.exp() + 1j * mixer.frequency
    Abar = (mixer.log_dt.exp()[:, None] * A).exp()
    return A, Abar, (Abar - 1) / A, mixer.C[..., 0] + 1j * mixer.C[..., 1]


@pytest.mark.parametrize("init", INITS)
def test_one_step_equals_scipy_hold(init):
    mixer = build(init=init)
    A, *_ = coefficients(mixer)
    x, u = randn(1, 2, 3, 2), randn(1, 2, seed=2)
    _, after = mixer.step(u, S4dState(x))
    for i, dt in enumerate(mixer.log_dt.exp().tolist()):
        for j, pole in enumerate(A[i].tolist()):
            # A complex pole turns and shrinks the plane; the input pushes along the real axis.
            plane = np.array([[pole.real, -pole.imag], [pole.imag, pole.real]])
            system = (plane, np.array([[1.0], [0.0]]), np.zeros((1, 2)), np.zeros((1, 1)))
            Ad, Bd, *_ = scipy.signal.cont2discrete(system, dt, method="zoh")
            expected = Ad @ x[0, i, j].numpy() + Bd[:, 0] * float(u[0, i])
            close(after.x[0, i, j], torch.from_numpy(expected))


@pytest.mark.parametrize("init", INITS)
@pytest.mark.parametrize("block", [1, 9])
def test_the_powers_of_a_block_are_explicit_powers(init, block):
    mixer = build(init=init)
    system = mixer._system(block, DTYPE)
    _, Abar, Bbar, C = coefficients(mixer)
    x = randn(3, 2, 3, 2)
    value = torch.view_as_complex(x)

    def parts(z):
        return torch.view_as_real(z).flatten(-2)

    for k in range(block):
        close(system.kernel[:, 0, k], 2 * (C * Bbar * Abar**k).sum(-1).real)
        close(system.reach[..., k], parts(Bbar * Abar**k))
        read = torch.einsum("dn,bdn->bd", system.read[:, 0, :, k], x.flatten(2))
        close(read, 2 * (C * Abar ** (k + 1) * value).sum(-1).real)
        moved = system.advance(x.flatten(2), torch.tensor([k, 0, k]))
        close(moved[0], parts(Abar**k * value)[0])
        assert torch.equal(moved[1], x.flatten(2)[1])
    close(system.advance(x.flatten(2), block), parts(Abar**block * value))


@pytest.mark.parametrize("init", ["lin", "inv", "legs"])
def test_the_other_pole_of_every_pair_gives_the_same_output(init):
    # The sign of Im A is a convention: conjugate A, C and the state.
    mixer, x, state = build(init=init, block_size=8), randn(2, 20, 2), randn(2, 2, 3, 2, seed=2)
    y, end = mixer(x, S4dState(state))
    flip = torch.tensor([1.0, -1.0], dtype=DTYPE)
    with torch.no_grad():
        mixer.frequency.neg_()
        mixer.C.mul_(flip)
    other, other_end = mixer(x, S4dState(state * flip))
    close(other, y)
    close(other_end.x, end.x * flip)


def test_starts():
    mixer = build(dim=300, init="lin")
    A = mixer.poles(DTYPE)[7].tolist()
    assert A == pytest.approx([-0.5, -0.5 + 1j * math.pi, -0.5 + 2j * math.pi], abs=1e-5)
    assert build(init="real").poles(DTYPE)[1].tolist() == pytest.approx([-1, -2, -3], abs=1e-5)
    assert mixer.C.shape == (300, 3, 2)
    assert abs(mixer.C.square().sum(-1).mean() - 1) < 0.1  # E |C|^2 = 1
    assert abs(mixer.D.std() - 1) < 0.1
    dt = mixer.log_dt.exp()
    assert 1e-3 <= dt.min() < 2e-3 and 5e-2 < dt.max() <= 1e-1


@pytest.mark.parametrize("init", INITS)
def test_every_state_decays(init):
    mixer = build(init=init, dim=16, state_dim=32)
    with torch.no_grad():
        mixer.log_decay.add_(randn(16, 16))  # Whatever was learned.
    _, Abar, *_ = coefficients(mixer)
    assert Abar.abs().max() < 1


def test_the_optimiser_can_tell_step_and_poles_apart():
    mixer = build()
    apart = {id(parameter) for parameter in mixer.no_decay_parameters()}
    names = {name for name, parameter in mixer.named_parameters() if id(parameter) in apart}
    assert names == {"log_dt", "log_decay", "frequency"}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"state_dim": 5}, "state_dim must be even, got 5"),
        ({"state_dim": 0}, "state_dim must be at least 1, got 0"),
        ({"block_size": 4097}, "block_size must lie in .1, 4096., got 4097"),
        ({"dt_max": 1e-4}, "dt_min must lie in"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
