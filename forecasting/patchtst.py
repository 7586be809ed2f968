"""PatchTST (2211.14730): patches of each channel as tokens of a Transformer shared by all channels.

As the released code: RevIN without or with its trainable scale, the last value repeated on the
right, learned positions, batch norm over tokens after each residual, attention scores handed from
layer to layer (residual attention), one linear head on all tokens.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from forecasting.covariate_path import CovariatePath
from forecasting.data.covariates import NONE, Covariates, CovariateSizes
from forecasting.instance_norm import normalise, restore
from forecasting.model_config import PatchTstConfig
from forecasting.patches import cut_patches, num_patches


class PatchTST(nn.Module):
    """Forecaster of all channels alike.

    Args:
        context: L.
        horizon: H.
        config: Sizes.
        covariates: Declared columns; with any, windows have one channel.
    """

    def __init__(
        self,
        context: int,
        horizon: int,
        config: PatchTstConfig | None = None,
        covariates: CovariateSizes = NONE,
    ) -> None:
        super().__init__()
        config = config or PatchTstConfig()
        self.config = config
        tokens = num_patches(context, config.patch_length, config.stride)
        self.embed = nn.Linear(config.patch_length, config.dim)
        self.position = nn.Parameter(torch.empty(tokens, config.dim))
        self.dropout = nn.Dropout(config.dropout)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_layers))
        self.head = nn.Sequential(
            nn.Flatten(1), nn.Linear(tokens * config.dim, horizon), nn.Dropout(config.head_dropout)
        )
        nn.init.uniform_(self.position, -0.02, 0.02)
        self.columns = None
        if any(covariates):
            self.columns = CovariatePath(
                covariates, patches=(config.patch_length, config.stride), dim=config.dim,
                horizon=horizon,
            )  # fmt: skip

    def forward(
        self, x: Float[Tensor, "batch context channels"], covariates: Covariates | None = None
    ) -> Float[Tensor, "batch horizon channels"]:
        """Forecast."""
        normed, scale = normalise(x)
        series = normed.transpose(1, 2).flatten(0, 1)
        patches = cut_patches(series, self.config.patch_length, self.config.stride)
        embedded, scores = self.embed(patches) + self.position, None
        if self.columns is not None and covariates is not None:
            embedded = self.columns.tokens(embedded, covariates)
        tokens = self.dropout(embedded)
        for layer in self.layers:
            tokens, scores = layer(tokens, scores)
        forecast = self.head(tokens).unflatten(0, (x.shape[0], -1)).transpose(1, 2)
        if self.columns is not None and covariates is not None:
            forecast = self.columns.forecast(forecast, covariates)
        return restore(forecast, scale)


class _Layer(nn.Module):
    """Attention and an MLP, each added and then normed."""

    def __init__(self, config: PatchTstConfig) -> None:
        super().__init__()
        dim = config.dim
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.mlp = nn.Sequential(
            nn.Linear(dim, config.feedforward_dim), nn.GELU(), nn.Dropout(config.dropout),
            nn.Linear(config.feedforward_dim, dim),
        )  # fmt: skip
        self.norms = nn.ModuleList(nn.BatchNorm1d(dim) for _ in range(2))
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Float[Tensor, "series tokens dim"], before: Tensor | None
    ) -> tuple[Float[Tensor, "series tokens dim"], Tensor]:
        q, k, v = (
            part.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        if before is not None:
            scores = scores + before
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)
        x = self._norm(0, x + self.dropout(self.out(mixed)))
        return self._norm(1, x + self.dropout(self.mlp(x))), scores

    def _norm(self, place: int, x: Tensor) -> Tensor:
        normed: Tensor = self.norms[place](x.transpose(1, 2)).transpose(1, 2)
        return normed
