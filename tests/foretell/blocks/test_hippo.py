import math

import numpy as np
import pytest
import scipy.signal
import torch
from numpy.polynomial import Legendre
from torch.autograd import gradcheck

from foretell.blocks.hippo import (
    discretise_bilinear,
    discretise_zoh,
    discretise_zoh_diagonal,
    hippo_matrices,
    s4d_poles,
    sample_log_dt,
)

DT = torch.tensor([1e-3, 0.02, 0.1, 1.7], dtype=torch.float64)


def close(actual, expected, tolerance=1e-9):
    torch.testing.assert_close(
        actual, torch.as_tensor(expected, dtype=actual.dtype), rtol=0, atol=tolerance
    )


def coefficients(power, size):
    """Integrals of s^power sqrt(2n + 1) P_n(2s - 1) over [0, 1], by quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(size + power + 1)
    s = (nodes + 1) / 2
    return torch.tensor(
        [
            math.sqrt(2 * n + 1) * np.sum(weights / 2 * s**power * Legendre.basis(n)(nodes))
            for n in range(size)
        ]
    )


def test_hand_written_matrices():
    A, B = hippo_matrices("legs", 3)
    r3, r5, r15 = 3**0.5, 5**0.5, 15**0.5
    close(A, [[-1, 0, 0], [-r3, -2, 0], [-r5, -r15, -3]])
    close(B, [1, r3, r5])
    A, B = hippo_matrices("legt", 3)
    close(A, [[-1, r3, -r5], [-r3, -3, r15], [-r5, -r15, -5]])
    close(B, [1, r3, r5])


@pytest.mark.parametrize("power", range(5))
def test_state_is_the_legendre_projection_of_the_past(power):
    # u = s^power at t = 1: LegS coefficients are t^power c, LegT looks back over [t - 1, t].
    c = coefficients(power, 6)
    A, B = hippo_matrices("legs", 6)
    close(A @ c + B, power * c)
    A, B = hippo_matrices("legt", 6)
    slope = power * coefficients(power - 1, 6) if power else torch.zeros(6).double()
    close(A @ c + B, slope)


def test_legt_scale_multiplies_both():
    A, B = hippo_matrices("legt", 8)
    for scaled, plain in zip(hippo_matrices("legt", 8, legt_scale=0.5), (A, B), strict=True):
        close(scaled, plain / 2)


@pytest.mark.parametrize("size", [1, 2, 8, 32])
def test_legs_eigenvalues(size):
    A, _ = hippo_matrices("legs", size)
    values = torch.linalg.eigvals(A)
    close(values.imag, torch.zeros(size))
    close(values.real.sort(descending=True).values, -torch.arange(1, size + 1))


def test_simple_poles():
    close(s4d_poles("lin", 6), [-0.5, -0.5 + 1j * math.pi, -0.5 + 2j * math.pi])
    inv = [-0.5 + 4j / math.pi * (4 - 1), -0.5 + 4j / math.pi * (4 / 3 - 1)]
    close(s4d_poles("inv", 4), inv)
    close(s4d_poles("real", 6), [-1 + 0j, -2, -3])


@pytest.mark.parametrize("size", [2, 4, 16, 64])
def test_legs_poles_are_eigenvalues(size):
    A, _ = hippo_matrices("legs", size)
    P = (torch.arange(size) + 0.5).double().sqrt()
    values = np.linalg.eigvals((A + P[:, None] * P).numpy())
    values = values[values.imag > 0]
    poles = s4d_poles("legs", size)
    assert len(poles) == size // 2
    close(poles, values[np.argsort(values.imag)], 1e-8)
    close(poles.real, torch.full((size // 2,), -0.5))


@pytest.mark.parametrize("kind", ["legs", "legt"])
@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
def test_bilinear_equals_scipy(kind, alpha):
    A, B = hippo_matrices(kind, 7)
    Abar, Bbar = discretise_bilinear(A, B, DT, alpha=alpha)
    check_scipy(A, B, Abar, Bbar, method="gbt", alpha=alpha)


@pytest.mark.parametrize("kind", ["legs", "legt"])
def test_zoh_equals_scipy(kind):
    A, B = hippo_matrices(kind, 7)
    check_scipy(A, B, *discretise_zoh(A, B, DT), method="zoh")


def check_scipy(A, B, Abar, Bbar, **options):
    assert Abar.shape == (4, 7, 7) and Bbar.shape == (4, 7)
    for i, dt in enumerate(DT.tolist()):
        system = A.numpy(), B[:, None].numpy(), np.zeros((1, 7)), np.zeros((1, 1))
        Ad, Bd, *_ = scipy.signal.cont2discrete(system, dt, **options)
        close(Abar[i], Ad)
        close(Bbar[i], Bd[:, 0])


@pytest.mark.parametrize("size", [4, 16, 64])
def test_spectral_radius_below_one(size):
    A, B = hippo_matrices("legs", size)
    for Abar, _ in (discretise_bilinear(A, B, DT), discretise_zoh(A, B, DT)):
        assert torch.linalg.eigvals(Abar).abs().max() < 1


def test_backward_euler_is_a_gate():
    # LSSL Lemma 3.1: (1 - sigmoid(z)) x + sigmoid(z) u is backward Euler of x' = -x + u.
    z = torch.linspace(-8, 8, 9, dtype=torch.float64)
    one = torch.ones(1, dtype=torch.float64)
    Abar, Bbar = discretise_bilinear(-one[None], one, z.exp(), alpha=1.0)
    close(Abar[:, 0, 0], 1 - z.sigmoid(), 1e-14)
    close(Bbar[:, 0], z.sigmoid(), 1e-14)


def test_zoh_of_a_singular_matrix():
    A = torch.tensor([[0.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    Abar, Bbar = discretise_zoh(A, torch.tensor([0.0, 1.0], dtype=torch.float64), DT)
    close(Abar[:, 0, 1], DT)
    close(Bbar, torch.stack([DT**2 / 2, DT], dim=1))


@pytest.mark.parametrize("kind", ["lin", "inv", "legs", "real"])
def test_diagonal_zoh_equals_dense(kind):
    poles = s4d_poles(kind, 8)
    Abar, Bbar = discretise_zoh_diagonal(poles, DT)
    for i, dt in enumerate(DT.tolist()):
        for j, pole in enumerate(poles.tolist()):
            # A complex pole turns and shrinks the plane. (torch's matrix_exp errs by up to 1e-10.)
            plane = torch.tensor([[pole.real, -pole.imag], [pole.imag, pole.real]], dtype=DT.dtype)
            push = torch.tensor([1.0, 0.0], dtype=torch.float64)
            A2, B2 = discretise_zoh(plane, push, torch.tensor([dt], dtype=torch.float64))
            close(Abar[i, j], complex(A2[0, 0, 0], A2[0, 1, 0]))
            close(Bbar[i, j], complex(B2[0, 0], B2[0, 1]))


def test_diagonal_zoh_near_zero():
    size = torch.tensor([0.0, 1e-300, 1e-12, 1e-6, 0.01, 0.0999999, 0.1000001, 0.3]).double()
    A = torch.polar(size, torch.linspace(0, 3, 8).double()).requires_grad_()
    Abar, Bbar = discretise_zoh_diagonal(A, torch.ones(1).double())
    exact = [[sum(z**k / math.factorial(k + 1) for k in range(30)) for z in A.tolist()]]
    close(Bbar, exact, 1e-15)
    (grad,) = torch.autograd.grad(Bbar.real.sum(), A)
    # d Bbar / dA, conjugated as torch's gradients are.
    slope = [
        sum(k * z ** (k - 1) / math.factorial(k + 1) for k in range(1, 30)) for z in A.tolist()
    ]
    close(grad.conj(), slope, 1e-14)
    real = discretise_zoh_diagonal(torch.zeros(2), torch.tensor([0.1, 0.2]))[1]
    close(real, [[0.1, 0.1], [0.2, 0.2]], 1e-7)


def test_poles_by_channel():
    A = s4d_poles("lin", 6) * torch.arange(1, 5)[:, None]
    Abar, Bbar = discretise_zoh_diagonal(A, DT)
    for i in range(4):
        shared = discretise_zoh_diagonal(A[i], DT)
        close(Abar[i], shared[0][i], 1e-14)
        close(Bbar[i], shared[1][i], 1e-14)


@pytest.mark.parametrize(
    "discretise",
    [discretise_bilinear, lambda *a: discretise_bilinear(*a, alpha=1.0), discretise_zoh],
)
def test_gradients(discretise):
    A, B = hippo_matrices("legs", 3)
    dt = DT[1:3].clone()
    assert gradcheck(discretise, [t.requires_grad_() for t in (A, B, dt)])


@pytest.mark.parametrize("kind", ["lin", "real"])
def test_diagonal_gradients(kind):
    A, dt = s4d_poles(kind, 6).requires_grad_(), DT.clone().requires_grad_()
    assert gradcheck(discretise_zoh_diagonal, [A, dt])


def test_log_dt():
    generator = torch.Generator().manual_seed(0)
    log_dt = sample_log_dt(4000, generator=generator)
    low, high = math.log(1e-3), math.log(1e-1)
    assert log_dt.min() >= low and log_dt.max() <= high
    assert abs(log_dt.mean() - (low + high) / 2) < 0.1
    assert abs(log_dt.std() - (high - low) / 12**0.5) < 0.1
    again = sample_log_dt(4000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_dt, again, rtol=0, atol=0)
    close(sample_log_dt(2, dt_min=0.5, dt_max=0.5), [math.log(0.5)] * 2, 1e-6)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: hippo_matrices("legs", 0), "state_dim must be at least 1, got 0"),
        (lambda: s4d_poles("lin", 5), "state_dim must be even, got 5"),
        (lambda: sample_log_dt(2, dt_min=0.0), "dt_min must lie in"),
        (
            lambda: discretise_bilinear(*hippo_matrices("legs", 2), DT, alpha=1.5),
            "alpha must lie in .0, 1., got 1.5",
        ),
    ],
)
def test_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
