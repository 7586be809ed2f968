"""Any sequence block of `foretell.blocks` as a forecaster.

Each channel of a window, normalised, is a sequence of steps or of patches; tokens go through a
mixer, a head turns them into the forecast. All channels share the weights. With a token a step and
the last token read, `start` and `step` forecast a stream.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from forecasting.covariate_path import CovariatePath
from forecasting.data.covariates import NONE, Covariates, CovariateSizes
from forecasting.instance_norm import WindowScale, normalise, restore
from forecasting.model_config import MixerForecasterConfig
from forecasting.patches import cut_patches, num_patches
from foretell.blocks.build import build_mixer


class Stream(NamedTuple):
    """What a forecaster knows of the steps it has seen."""

    scale: WindowScale
    """Of the window that the stream began with."""
    state: Any
    """Of the mixer; series are batch by channel."""


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
        forecast = self._unfolded(read, x.shape[0])
        if self.columns is not None and covariates is not None:
            forecast = self.columns.forecast(forecast, covariates)
        return restore(forecast, scale)

    def start(
        self, x: Float[Tensor, "batch context channels"]
    ) -> tuple[Float[Tensor, "batch horizon channels"], Stream]:
        """The forecast of a first window, of any length, and what `step` goes on from.

        Raises:
            ValueError: Tokens are patches, the head reads all tokens, the mixer sees the future or
                has no step, or there are further columns.
        """
        config = self.config
        if config.tokens != "step" or config.head != "last" or self.columns is not None:
            raise ValueError(
                "streaming needs tokens step, head last and no further columns, got "
                f"{config.tokens} and {config.head}"
            )
        if not (self.mixer.causal and self.mixer.streamable):
            raise ValueError(f"mixer {config.mixer.kind} is not causal, or has no step")
        normed, scale = normalise(x)
        mixed, state = self.mixer(self.embed(normed.transpose(1, 2).flatten(0, 1)[..., None]))
        return restore(self._unfolded(mixed[:, -1], x.shape[0]), scale), Stream(scale, state)

    def step(
        self, x_t: Float[Tensor, "batch channels"], stream: Stream
    ) -> tuple[Float[Tensor, "batch horizon channels"], Stream]:
        """One step later: equal to a pass over all steps with the first window's statistics."""
        normed = (x_t[:, None] - stream.scale.mean) / stream.scale.std
        mixed, state = self.mixer.step(self.embed(normed.flatten()[:, None]), stream.state)
        forecast = restore(self._unfolded(mixed, len(x_t)), stream.scale)
        return forecast, Stream(stream.scale, state)

    def _unfolded(self, read: Tensor, batch: int | torch.SymInt) -> Tensor:
        found: Tensor = self.head(self.dropout(read)).unflatten(0, (batch, -1))
        return found.transpose(1, 2)
