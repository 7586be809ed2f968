"""LSSL: the matrices, kernels from explicit powers, blocks of time, and the paper's identities."""

import numpy as np
import pytest
import scipy.signal
import torch

from foretell.blocks.hippo import hippo_matrices
from foretell.blocks.lssl import LSSL, LsslState, krylov, lssl_naive

DTYPE = torch.float64


def build(state_dim=6, dim=2, **options):
    torch.manual_seed(0)
    return LSSL(dim, state_dim, **options).double()


def randn(*shape, seed=1, dtype=DTYPE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def close(actual, expected, tolerance=1e-9):
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("hippo", ["legs", "legt"])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.8, 1.0])
def test_coefficients_equal_scipy(hippo, alpha):
    block = build(hippo=hippo, alpha=alpha, dim=3)
    A, B = block.A.detach().numpy(), block.B.detach()[:, None].numpy()
    Abar, Bbar = block.discretise(DTYPE)
    for i, dt in enumerate(block.log_dt.exp().tolist()):
        system = (A, B, np.zeros((1, 6)), np.zeros((1, 1)))
        Ad, Bd, *_ = scipy.signal.cont2discrete(system, dt, method="gbt", alpha=alpha)
        close(Abar[i], torch.from_numpy(Ad))
        close(Bbar[i], torch.from_numpy(Bd[:, 0]))


@pytest.mark.parametrize("hippo", ["legs", "legt"])
@pytest.mark.parametrize("alpha", [0.5, 1.0])
@pytest.mark.parametrize("state_dim", [4, 32])
def test_every_start_is_stable(hippo, alpha, state_dim):
    block = LSSL(16, state_dim, hippo=hippo, alpha=alpha)  # A as float32 rounds it.
    Abar, _ = block.discretise(DTYPE)
    assert torch.linalg.eigvals(Abar).abs().max() < 1


def test_legs_eigenvalues_survive_the_bilinear_transform():
    block = build(state_dim=5, dim=1)
    (dt,) = block.log_dt.exp().tolist()
    values = torch.linalg.eigvals(block.discretise(DTYPE)[0][0]).real.sort().values
    poles = -torch.arange(5, 0, -1, dtype=DTYPE)
    close(values, (1 + dt / 2 * poles) / (1 - dt / 2 * poles), 1e-8)


def test_a_gate_is_a_backward_euler_step():
    # LSSL Lemma 3.1: (1 - sigmoid(z)) x + sigmoid(z) u, with dt = exp(z) and A = -1, B = 1.
    block = build(state_dim=1, dim=9, alpha=1.0)
    z = torch.linspace(-6, 6, 9, dtype=DTYPE)
    with torch.no_grad():
        block.log_dt.copy_(z)
    close(block.A.detach(), -torch.ones(1, 1, dtype=DTYPE))
    u, x = randn(4, 17, 9), randn(4, 9, seed=2)
    state = block(u, LsslState(x[..., None]))[1].x[..., 0]
    for u_t in u.unbind(1):
        x = (1 - z.sigmoid()) * x + z.sigmoid() * u_t
    close(state, x)


@pytest.mark.parametrize("steps", [1, 2, 3, 8, 13])
@pytest.mark.parametrize("width", [1, 3])
def test_krylov_columns_are_powers(steps, width):
    M, start = randn(2, 4, 4) / 2, randn(2, 4, width, seed=2)
    powers = [torch.linalg.matrix_power(M, 2**k) for k in range(4)]
    columns = krylov(powers, start, steps)
    assert columns.shape == (2, 4, steps, width)
    for k in range(steps):
        close(columns[:, :, k], torch.linalg.matrix_power(M, k) @ start)


@pytest.mark.parametrize("block", [1, 2, 7, 16])
@pytest.mark.parametrize("num_outputs", [1, 3])
def test_the_powers_of_a_block_are_explicit_powers(block, num_outputs):
    mixer = build(num_outputs=num_outputs, state_dim=4)
    system = mixer._system(block, DTYPE)
    Abar, Bbar = mixer.discretise(DTYPE)
    x = randn(3, 2, 4)
    for k in range(block):
        power = torch.linalg.matrix_power(Abar, k)
        close(system.reach[..., k], (power @ Bbar[..., None])[..., 0])
        close(system.kernel[..., k], (mixer.C @ power @ Bbar[..., None])[..., 0])
        close(system.read[..., k], mixer.C @ power @ Abar)
        close(system.advance(x, torch.tensor([k, 0, k]))[::2], (power @ x[..., None])[::2, :, :, 0])
    assert torch.equal(system.advance(x, torch.zeros(3).long()), x)
    whole = torch.linalg.matrix_power(Abar, block) @ x[..., None]
    close(system.advance(x, block), whole[..., 0])


def test_an_impulse_draws_the_kernel():
    mixer = build(num_outputs=2, dim=1, block_size=4)
    x = torch.zeros(1, 19, 1, dtype=DTYPE)
    x[0, 0] = 1
    seen = []
    mixer.mix.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    mixer(x)
    Abar, Bbar = mixer.discretise(DTYPE)
    kernel = [mixer.C @ torch.linalg.matrix_power(Abar, k) @ Bbar[..., None] for k in range(19)]
    expected = torch.cat(kernel, -1)[0].T.clone()
    expected[0] += mixer.D[0]
    close(seen[0][0], torch.nn.functional.gelu(expected))


@pytest.mark.parametrize("time", [1, 17])
def test_steps_from_one_discretisation(time):
    mixer, x, state = build(), randn(2, time, 2), LsslState(randn(2, 2, 6, seed=3))
    expected, discrete, outputs = lssl_naive(mixer, x, state), mixer.discretise(DTYPE), []
    for x_t in x.unbind(1):
        y_t, state = mixer.step(x_t, state, discrete=discrete)
        outputs.append(y_t)
    close(torch.stack(outputs, 1), expected[0])
    close(state.x, expected[1].x)


def test_a_changed_step_size_changes_the_next_call():
    # The reference keeps its kernel between calls and goes stale.
    mixer, x = build(trainable=False), randn(1, 9, 2)
    before, _ = mixer(x)
    mixer.log_dt += 1
    after, _ = mixer(x)
    assert not torch.allclose(before, after)
    close(after, lssl_naive(mixer, x, mixer.init_state(1))[0])


def test_fixed_blocks_learn_neither_matrix_nor_step():
    assert {name for name, _ in build(trainable=False).named_buffers()} == {"A", "log_dt"}
    fixed = {name for name, _ in build(trainable=False).named_parameters()}
    learned = {name for name, _ in build().named_parameters()}
    assert learned - fixed == {"A", "log_dt"} and not fixed - learned
    assert build(trainable=False).state_dict().keys() == build().state_dict().keys()


def test_starts():
    mixer = build(hippo="legt", legt_scale=0.5, state_dim=7, dim=300, num_outputs=2)
    A, B = hippo_matrices("legt", 7, legt_scale=0.5)
    close(mixer.A.detach(), A, 1e-6)
    close(mixer.B.detach(), B, 1e-6)
    assert mixer.C.shape == (300, 2, 7) and abs(mixer.C.std() - 1) < 0.05
    assert mixer.D.shape == (300, 2) and abs(mixer.D.std() - 1) < 0.1
    dt = mixer.log_dt.exp()
    assert 1e-3 <= dt.min() < 2e-3 and 5e-2 < dt.max() <= 1e-1


@pytest.mark.parametrize("layers, dim, num_outputs, millions", [(6, 128, 1, 0.2), (4, 256, 4, 2.1)])
def test_published_sizes(layers, dim, num_outputs, millions):
    mixer = LSSL(dim, dim, num_outputs=num_outputs, trainable=False)
    weights = layers * sum(parameter.numel() for parameter in mixer.parameters())
    assert round(weights / 1e6, 1) == millions


@pytest.mark.parametrize(
    "options, message",
    [
        ({"state_dim": 0}, "state_dim must be at least 1, got 0"),
        ({"dim": 0}, "dim must be at least 1, got 0"),
        ({"num_outputs": 0}, "num_outputs must be at least 1, got 0"),
        ({"alpha": 1.2}, "alpha must lie in .0, 1., got 1.2"),
        ({"block_size": 0}, "block_size must lie in .1, 1024., got 0"),
        ({"block_size": 1025}, "block_size must lie in .1, 1024., got 1025"),
        ({"dt_min": 0.0}, "dt_min must lie in"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
