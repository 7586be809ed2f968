"""The head's step of `foretell doctor`."""

import pytest
import torch

from graphs import doctor


def test_a_tiny_step_leaves_the_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert doctor.tiny_step().startswith("EvolveGCN forward and backward, loss -O ")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loss_that_is_not_finite_is_told(monkeypatch):
    class Broken:
        def loss(self, network, x, data, step):
            return (x * torch.inf).sum()

    monkeypatch.setattr(doctor, "build_objective", lambda config: Broken())
    with pytest.raises(ArithmeticError, match="not finite"):
        doctor.tiny_step()
