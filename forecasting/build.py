"""From a name to a forecaster of [batch, context, channels]."""

from jaxtyping import Float
from torch import Tensor, nn

from forecasting.baselines.ridge import Ridge
from forecasting.baselines.simple import Drift, LastValue, SeasonalNaive
from forecasting.config import UNTRAINED, FitConfig, FitsConfig, Name, NetworksConfig
from forecasting.data.covariates import NONE, Covariates, CovariateSizes, sizes_of
from forecasting.data.panel import Layout
from forecasting.forecaster_config import ForecasterConfig
from forecasting.linear import DLinear, NLinear
from forecasting.mixers import MixerForecaster
from forecasting.patchtst import PatchTST
from forecasting.quantiles import QuantileForecaster
from forecasting.s2ip import S2IP
from foretell.errors import UserError

TARGET_ALONE: tuple[Name, ...] = ("nlinear", "dlinear", "s2ip")
"""Trained models that have no use for other columns."""


def build_forecaster(
    name: Name,
    networks: NetworksConfig,
    *,
    context: int,
    horizon: int,
    season: int,
    covariates: CovariateSizes = NONE,
) -> nn.Module:
    """The network of a name, untrained; ridge_tuned is made by its trials.

    Args:
        name: Which.
        networks: Sizes.
        context: L.
        horizon: H.
        season: Of seasonal_naive.
        covariates: Declared columns; last, drift and seasonal_naive learn nothing and stand beside
            the others as they are.

    Raises:
        UserError: Declared columns that the model cannot use.
        ValueError: Sizes that do not fit.
    """
    if any(covariates) and name in TARGET_ALONE:
        raise UserError(
            f"{name} cannot use static_cols, past_cols or future_cols: leave it out of models, or "
            "drop the columns (ridge, patchtst, lstm, lssl, mamba2, aaren and titans use them)"
        )
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
            return Ridge(context, horizon, centre=networks.ridge.centre, covariates=covariates)
        case "nlinear":
            return NLinear(context, horizon)
        case "dlinear":
            return DLinear(context, horizon, networks.dlinear)
        case "patchtst":
            return PatchTST(context, horizon, networks.patchtst, covariates)
        case "s2ip":
            return S2IP(context, horizon, networks.s2ip)
        case _:
            return MixerForecaster(context, horizon, getattr(networks, name), covariates)


class TargetAlone(nn.Module):
    """A forecaster that learns nothing beside others that see more columns.

    Args:
        network: Of contexts alone.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, x: Float[Tensor, "batch context channels"], covariates: Covariates
    ) -> Float[Tensor, "batch horizon channels"]:
        """Forecast from the context."""
        found: Tensor = self.network(x)
        return found


def build_of(name: Name, config: ForecasterConfig, layout: Layout) -> nn.Module:
    """The network of a name as a `Forecaster` has it, with a quantile head where one is asked for.

    Raises:
        UserError: Declared columns that the model cannot use.
        ValueError: Sizes that do not fit.
    """
    sizes = sizes_of(layout, config.horizon)
    quantiles = [] if name in UNTRAINED else config.quantiles
    network = build_forecaster(
        name, config.networks, context=config.context,
        horizon=config.horizon * max(1, len(quantiles)), season=config.season,
        covariates=sizes,
    )  # fmt: skip
    if any(sizes) and name in UNTRAINED and not isinstance(network, Ridge):
        return TargetAlone(network)
    return QuantileForecaster(network, config.horizon, quantiles) if quantiles else network


def fit_of(name: Name, fits: FitsConfig) -> FitConfig:
    """How a name is trained."""
    found: FitConfig = getattr(fits, name, fits.mixers)
    return found


def count_weights(network: nn.Module) -> int:
    """Trained numbers; of ridge the map that it has solved for."""
    if isinstance(network, Ridge):
        return network.weight.numel()
    return sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
