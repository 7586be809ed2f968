"""Any sequence block of `foretell.blocks` as a forecaster.

Each channel of a window, normalised, is a sequence of steps or of patches; tokens go through a
mixer, a head turns them into the forecast. All channels share the weights.
"""

from jaxtyping import Float
from torch import Tensor, nn

from forecasting.covariate_path import CovariatePath
from forecasting.data.covariates import NONE, Covariates, CovariateSizes
from forecasting.instance_norm import normalise, restore
from forecasting.model_config import MixerForecasterConfig
from forecasting.patches import cut_patches, num_patches
from foretell.blocks.build import build_mixer


class MixerForecaster(nn.Module):
    """Norm, tokens, mixer, head, undo norm.

    Args:
        context: L.
        horizon: H.
        config: Mixer, tokens, head.
        covariates: Declared columns; with any, windows have one channel.
    """

    def __init__(
        self,
        context: int,
        horizon: int,
        config: MixerForecasterConfig,
        covariates: CovariateSizes = NONE,
    ) -> None:
        super().__init__()
        self.config = config
        patch, stride = (1, 1) if config.tokens == "step" else (config.patch_length, config.stride)
        # A step is its own token: nothing is repeated on the right.
        tokens = context if config.tokens == "step" else num_patches(context, patch, stride)
        self.embed = nn.Linear(patch, config.dim)
        self.mixer = build_mixer(config.mixer, config.dim)
        width = self.mixer.output_dim * (tokens if config.head == "flatten" else 1)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(width, horizon)
        self.columns = None
        if any(covariates):
            patches = None if config.tokens == "step" else (patch, stride)
            self.columns = CovariatePath(
                covariates, patches=patches, dim=config.dim, horizon=horizon
            )

    def forward(
        self, x: Float[Tensor, "batch context channels"], covariates: Covariates | None = None
    ) -> Float[Tensor, "batch horizon channels"]:
        """Forecast."""
        config = self.config
        normed, scale = normalise(x)
        series = normed.transpose(1, 2).flatten(0, 1)
        if config.tokens == "step":
            pieces = series[..., None]
        else:
            pieces = cut_patches(series, config.patch_length, config.stride)
        tokens = self.embed(pieces)
        if self.columns is not None and covariates is not None:
            tokens = self.columns.tokens(tokens, covariates)
        mixed, _ = self.mixer(tokens)
        read = mixed.flatten(1) if config.head == "flatten" else mixed[:, -1]
        forecast = self.head(self.dropout(read)).unflatten(0, (x.shape[0], -1)).transpose(1, 2)
        if self.columns is not None and covariates is not None:
            forecast = self.columns.forecast(forecast, covariates)
        return restore(forecast, scale)
