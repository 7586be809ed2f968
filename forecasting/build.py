"""From a name to a forecaster of [batch, context, channels]."""

from torch import nn

from forecasting.baselines.ridge import Ridge
from forecasting.baselines.simple import Drift, LastValue, SeasonalNaive
from forecasting.config import FitConfig, FitsConfig, Name, NetworksConfig
from forecasting.linear import DLinear, NLinear
from forecasting.mixers import MixerForecaster
from forecasting.patchtst import PatchTST
from forecasting.s2ip import S2IP


def build_forecaster(
    name: Name, networks: NetworksConfig, *, context: int, horizon: int, season: int
) -> nn.Module:
    """The network of a name, untrained; ridge_tuned is made by its trials.

    Args:
        name: Which.
        networks: Sizes.
        context: L.
        horizon: H.
        season: Of seasonal_naive.

    Raises:
        ValueError: Sizes that do not fit.
    """
    match name:
        case "last":
            return LastValue(horizon)
        case "drift":
            return Drift(horizon)
        case "seasonal_naive":
            if season > context:
                raise ValueError(
                    f"a season of {season} steps needs a context as long, got {context}"
                )
            return SeasonalNaive(horizon, season)
        case "ridge" | "ridge_tuned":
            return Ridge(context, horizon, centre=networks.ridge.centre)
        case "nlinear":
            return NLinear(context, horizon)
        case "dlinear":
            return DLinear(context, horizon, networks.dlinear)
        case "patchtst":
            return PatchTST(context, horizon, networks.patchtst)
        case "s2ip":
            return S2IP(context, horizon, networks.s2ip)
        case _:
            return MixerForecaster(context, horizon, getattr(networks, name))


def fit_of(name: Name, fits: FitsConfig) -> FitConfig:
    """How a name is trained."""
    found: FitConfig = getattr(fits, name, fits.mixers)
    return found


def count_weights(network: nn.Module) -> int:
    """Trained numbers; of ridge the map that it has solved for."""
    if isinstance(network, Ridge):
        return network.weight.numel()
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
