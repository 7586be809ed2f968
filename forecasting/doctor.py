"""One tiny step of the series head for `foretell doctor`."""

import torch

from forecasting.baselines.ridge import Ridge
from forecasting.build import build_forecaster
from forecasting.config import Name, NetworksConfig

CONTEXT, HORIZON = 48, 12
TRAINED: tuple[Name, ...] = ("dlinear", "patchtst", "lstm")


def tiny_step() -> str:
    """Ridge in closed form, then forward and backward of small networks on two sine waves.

    Returns:
        What was done, for a person.

    Raises:
        ArithmeticError: A loss or a gradient is not finite.
    """
    wave = torch.sin(torch.arange(200) / torch.tensor([[3.0], [4.0]])).T
    x, y = wave[None, :CONTEXT], wave[None, CONTEXT : CONTEXT + HORIZON]
    error = (Ridge(CONTEXT, HORIZON).fit(wave.double().numpy())(x) - y).square().mean()
    told = [f"ridge {error.item():.3f}"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for name in TRAINED:
            network = build_forecaster(
                name, NetworksConfig(), context=CONTEXT, horizon=HORIZON, season=24
            )
            loss = (network(x) - y).square().mean()
            loss.backward()
            gradients = [p.grad for p in network.parameters() if p.grad is not None]
            if not all(bool(value.isfinite().all()) for value in (error, loss, *gradients)):
                raise ArithmeticError(f"a gradient of the tiny {name} is not finite")
            told.append(f"{name} {loss.item():.3f}")
    return f"forecasts of a wave, squared error {', '.join(told)}"
