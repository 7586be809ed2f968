"""The head's step of `foretell doctor`."""

import pytest
import torch

from forecasting import doctor


def test_a_tiny_step_leaves_the_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert doctor.tiny_step().startswith("forecasts of a wave, squared error ridge 0.0")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loss_that_is_not_finite_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x[:, :1, :1]) * torch.inf

    monkeypatch.setattr(doctor, "build_forecaster", lambda *args, **options: Broken(1, 1))
    with pytest.raises(ArithmeticError, match="not finite"):
        doctor.tiny_step()
