"""The head's step of `foretell doctor`."""

import time

import pytest
import torch

from lidar import doctor


def test_a_tiny_step_is_quick_and_leaves_the_generator_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    started = time.process_time()
    assert doctor.tiny_step().startswith("TREND forward and backward, loss ")
    assert time.process_time() - started < 2
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loss_that_is_not_finite_is_told(monkeypatch):
    broken = doctor.made_up_batch()
    broken.ray_i.fill_(torch.inf)
    monkeypatch.setattr(doctor, "made_up_batch", lambda: broken)
    with pytest.raises(ArithmeticError, match="not finite"):
        doctor.tiny_step()
