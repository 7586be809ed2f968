"""The computation of S2IP-LLM's released code, written anew step by step; also the tests' oracle.

Vectorised torch wherever the released code has it, pandas row by row where that does: rolling
means, filled at the ends, and group means by phase. Anchors are mapped from the whole vocabulary in
every forward pass, the language model computes attention eagerly and hands out attentions, hidden
states and keys and values, three thirds go through one map. Where the released code no longer runs
(fillna by method, devices) the same is computed.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional

from forecasting.s2ip_config import S2ipConfig

DECOMPOSITION, ANCHORS, REST = "norm, decomposition", "anchor map", "blocks and all else"
THIRDS = 3
Staged = Callable[[str], AbstractContextManager[None]]


class Parts(NamedTuple):
    """What has weights."""

    embed: nn.Linear
    """3 P -> D."""
    anchor_map: nn.Linear
    """V -> V'."""
    words: Tensor
    """E, [V, D]."""
    blocks: Callable[[Tensor], Tensor]
    out: nn.Linear
    """(K + N_P) D / 3 -> H."""

    def parameters(self) -> list[nn.Parameter]:
        """All of them, those of the blocks too where these are a module."""
        modules = [part for part in self if isinstance(part, nn.Module)]
        return [weight for module in modules for weight in module.parameters()]


class Blocks(nn.Module):
    """GPT-2 as the released code calls it and trains it: norms and positions, by their names.

    Args:
        model: Made by `language_model(..., eager=True)`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        for name, weight in model.named_parameters():
            weight.requires_grad_("ln" in name or "wpe" in name)

    def forward(self, tokens: Tensor) -> Tensor:
        """Hidden states [series, tokens, D] after the last norm."""
        hidden: Tensor = self.model(inputs_embeds=tokens).last_hidden_state
        return hidden


def language_model(
    *, width: int, layers: int, heads: int, words: int, positions: int = 1024, eager: bool = False
) -> Any:
    """A GPT-2 of random weights, the same for the same sizes."""
    from transformers import GPT2Config, GPT2Model

    released = {
        "attn_implementation": "eager", "output_attentions": True, "output_hidden_states": True,
    }  # fmt: skip
    config = GPT2Config(
        vocab_size=words, n_positions=positions, n_embd=width, n_layer=layers, n_head=heads,
        **(released if eager else {}),
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GPT2Model(config)


def pandas_parts(series: np.ndarray, trend_window: int, season: int) -> np.ndarray:
    """Trend, season, residual [rows, 3, time] of series [rows, time], row by row."""

    def parts(row: np.ndarray) -> np.ndarray:
        frame = pd.DataFrame(row)
        trend = frame.rolling(window=trend_window, center=True).mean().bfill().ffill()
        detrended = frame - trend
        seasonal = detrended.groupby(detrended.index % season).transform("mean").bfill().ffill()
        residual = detrended - seasonal
        return np.concatenate([trend, seasonal, residual], axis=1).T

    return np.stack([parts(row) for row in series])


def forecast(
    x: Tensor, parts: Parts, config: S2ipConfig, *, stage: Staged = lambda name: nullcontext()
) -> tuple[Tensor, Tensor]:
    """Forecast [batch, horizon, channels] of x [batch, context, channels], and the alignment.

    Args:
        x: Windows.
        parts: Weights.
        config: Windows of the decomposition, patches, anchors retrieved.
        stage: Opens a stage that is timed.
    """
    batch, _, channels = x.shape
    with stage(DECOMPOSITION):
        mean = x.mean(1, keepdim=True).detach()
        centred = x - mean
        std = torch.sqrt(torch.var(centred, dim=1, keepdim=True, unbiased=False) + 1e-5)
        series = (centred / std).permute(0, 2, 1).reshape(batch * channels, -1)
        decomposed = pandas_parts(series.detach().numpy(), config.trend_window, config.season)
    with stage(ANCHORS):
        anchors = parts.anchor_map(parts.words.permute(1, 0)).permute(1, 0)
    with stage(REST):
        padded = functional.pad(torch.from_numpy(decomposed), (0, config.stride), mode="replicate")
        patches = padded.unfold(-1, config.patch_length, config.stride)
        tokens = parts.embed(patches.permute(0, 2, 1, 3).flatten(2).to(x.dtype))
        unit, asked = functional.normalize(anchors, dim=1), functional.normalize(tokens.mean(1))
        _, index = (asked @ unit.T).topk(config.retrieved, dim=1)
        alignment = (unit[index] * asked[:, None]).sum() / len(series)
        hidden = parts.blocks(torch.cat([anchors[index], tokens], dim=1))
        mapped = parts.out(hidden.reshape(len(series) * THIRDS, -1))
        summed = mapped.reshape(batch, channels, THIRDS, -1).sum(2)
        return summed.permute(0, 2, 1) * std + mean, alignment


def loss(found: tuple[Tensor, Tensor], y: Tensor, align_weight: float) -> Tensor:
    """Squared error, less the weighted alignment."""
    predicted, alignment = found
    return functional.mse_loss(predicted, y) - align_weight * alignment
