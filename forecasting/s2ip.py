"""S2IP-LLM (2403.05798): series as tokens, prompted by anchors from a language model's words.

Norm, decompose, patch, tokens; the anchors most similar to the series stand before its tokens; a
frozen language model with trained norms and positions; a linear head; undo the norm. Channels
share all weights. A token sees `trend_window` steps through the trend and all steps through the
season, not its patch alone.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from forecasting.anchors import Anchors
from forecasting.backbone import build_backbone
from forecasting.decomposition import decompose
from forecasting.instance_norm import WindowScale, normalise, restore
from forecasting.patches import cut_patches, num_patches
from forecasting.retrieval import Retrieved, retrieve
from forecasting.s2ip_config import S2ipConfig
from forecasting.s2ip_heads import S2ipHead
from forecasting.stl import Stl


class Prompt(NamedTuple):
    """What stands before the blocks."""

    tokens: Float[Tensor, "series tokens dim"]
    retrieved: Retrieved
    """The most similar first."""
    sequence: Float[Tensor, "series prefixed dim"]
    """Anchors, then tokens."""


class _Steps(NamedTuple):
    """What one pass computes."""

    scale: WindowScale
    retrieved: Retrieved
    parts: Float[Tensor, "series parts horizon"]
    """Of the forecast, normed; one unless the head makes components."""


class S2IP(nn.Module):
    """The forecaster.

    Args:
        context: L.
        horizon: H.
        config: Everything else.
        backbone: Blocks and words instead of those that `config.backbone` names.

    `watch`, where it is set, is called with the tokens and the anchors of every pass.

    Raises:
        UserError: The language model cannot be loaded.
        ValueError: Sizes that do not fit.
    """

    def __init__(
        self,
        context: int,
        horizon: int,
        config: S2ipConfig,
        *,
        backbone: tuple[nn.Module, Float[Tensor, "words dim"]] | None = None,
    ) -> None:
        super().__init__()
        self.config, self.context, self.horizon = config, context, horizon
        if config.decomposition == "classical" and config.trend_window > context:
            raise ValueError(
                f"trend_window {config.trend_window} is longer than the context, {context}"
            )
        blocks, words = build_backbone(config.backbone) if backbone is None else backbone
        dim, tokens = words.shape[1], num_patches(context, config.patch_length, config.stride)
        self.norm_scale = self.norm_shift = None
        if config.norm_affine:
            self.norm_scale, self.norm_shift = (
                nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))
            )  # fmt: skip
        channels = 1 if config.decomposition == "none" else 3
        self.embed = nn.Linear(channels * config.patch_length, dim)
        self.anchors = Anchors(config.anchors, words) if config.retrieved else None
        self.blocks = blocks
        self.head = S2ipHead(
            config.head, prefix=config.retrieved, tokens=tokens, dim=dim, horizon=horizon
        )
        self.linear = self.gate_logit = None
        if config.linear_path != "none":
            self.gate_logit = nn.Parameter(torch.zeros(()))
            self.linear = nn.Linear(context, horizon, bias=config.linear_path == "trained")
            for weight in self.linear.parameters():
                nn.init.zeros_(weight)
            if config.linear_path == "ridge":
                self.linear.requires_grad_(False)
        self._stl = Stl(config.season) if config.decomposition == "stl" else None
        self.watch: Callable[[Tensor, Retrieved], None] | None = None
        self._kept: tuple[tuple[int, ...], Tensor, Tensor] | None = None

    def forward(
        self, x: Float[Tensor, "batch context channels"]
    ) -> Float[Tensor, "batch horizon channels"]:
        """Forecast."""
        return self._unfold(self._steps(x))

    def loss(
        self,
        x: Float[Tensor, "batch context channels"],
        y: Float[Tensor, "batch horizon channels"],
    ) -> tuple[Float[Tensor, ""], Mapping[str, Tensor]]:
        """MSE - lambda (mean over series of the summed cosines of their anchors).

        With head components also the parts' errors against the decomposition of context and
        target together, after the context, in normed units.

        Returns:
            The loss, and its parts by name.
        """
        steps, config = self._steps(x), self.config
        parts = {"mse": functional.mse_loss(self._unfold(steps), y)}
        loss = parts["mse"]
        if config.retrieved and config.align_weight:
            parts["alignment"] = steps.retrieved.cosine.sum(1).mean()
            loss = loss - config.align_weight * parts["alignment"]
        if self.gate is not None:
            parts["gate"] = self.gate.detach()
        if config.head == "components":
            whole = (torch.cat([x, y], 1) - steps.scale.mean) / steps.scale.std
            wanted = self._decomposed(_fold(whole))
            parts["components"] = functional.mse_loss(
                steps.parts, wanted[..., self.context :].to(steps.parts)
            )
            loss = loss + config.component_weight * parts["components"]
        return loss, parts

    @property
    def gate(self) -> Float[Tensor, ""] | None:
        """Share of the linear path in the forecast, none without one."""
        return None if self.gate_logit is None else self.gate_logit.sigmoid()

    @torch.no_grad()
    def set_linear_path(self, weight: Float[Tensor, "horizon context"]) -> None:
        """Put a solved map into the linear path; scaling a window scales its forecast alike, so
        that the map of centred windows is that of normed ones.

        Raises:
            ValueError: There is no path for it.
        """
        if self.linear is None or self.config.linear_path != "ridge":
            raise ValueError("linear_path is not ridge: nothing to set")
        self.linear.weight.copy_(weight)

    @torch.no_grad()
    def prompt(self, x: Float[Tensor, "batch context channels"]) -> Prompt:
        """What the blocks are given; series are batch by channel."""
        _, _, tokens = self._tokens(x)
        found, sequence = self._prompted(tokens)
        return Prompt(tokens, found, sequence)

    def retrieved(self, x: Float[Tensor, "batch context channels"]) -> Retrieved:
        """The anchors of each series, the most similar first."""
        return self.prompt(x).retrieved

    @torch.no_grad()
    def forecast_parts(
        self, x: Float[Tensor, "batch context channels"]
    ) -> Float[Tensor, "batch 3 horizon channels"]:
        """Trend, season and residual of the forecast, whose sum it is.

        Raises:
            ValueError: The head makes no components: nothing else tells parts apart.
        """
        if self.config.head != "components":
            raise ValueError(
                f"head {self.config.head} has no parts of a forecast: train with head components"
            )
        steps = self._steps(x)
        parts = steps.parts.unflatten(0, (len(x), -1)).permute(0, 2, 3, 1)
        first = parts.new_tensor([1.0, 0.0, 0.0])[:, None, None]  # the level is the trend's
        if self.norm_scale is not None and self.norm_shift is not None:
            parts = (parts - first * self.norm_shift) / self.norm_scale
        own_units: Tensor = parts * steps.scale.std[:, None] + first * steps.scale.mean[:, None]
        return own_units

    def _tokens(self, x: Tensor) -> tuple[WindowScale, Tensor, Tensor]:
        """Scale, normed series [series, time], tokens [series, tokens, dim]."""
        config = self.config
        if x.shape[1] != self.context:
            raise ValueError(f"x must have {self.context} steps, got {x.shape[1]}")
        normed, scale = normalise(x)
        if self.norm_scale is not None and self.norm_shift is not None:
            normed = normed * self.norm_scale + self.norm_shift
        series = _fold(normed)
        patches = cut_patches(self._decomposed(series), config.patch_length, config.stride)
        return scale, series, self.embed(patches.transpose(1, 2).flatten(2))

    def _steps(self, x: Tensor) -> _Steps:
        scale, series, tokens = self._tokens(x)
        found, sequence = self._prompted(tokens)
        parts = self.head(self.blocks(sequence))
        if self.linear is not None and self.gate is not None:
            parts = self.gate * self.linear(series)[:, None] + (1 - self.gate) * parts
        return _Steps(scale, found, parts)

    def _decomposed(self, series: Tensor) -> Tensor:
        """[series, time] -> [series, parts, time]."""
        if self.config.decomposition == "none":
            return series[:, None]
        if self._stl is not None:
            return self._stl(series)
        return decompose(series, self.config.trend_window, self.config.season)

    def _prompted(self, tokens: Tensor) -> tuple[Retrieved, Tensor]:
        if self.anchors is None:
            nothing = tokens.new_zeros(len(tokens), 0)
            return Retrieved(nothing.long(), nothing), tokens
        anchors, normed = self._anchors()
        found = retrieve(
            tokens, anchors, self.config.retrieved, query=self.config.query, normed=normed
        )
        if self.watch is not None:
            self.watch(tokens.detach(), found)
        return found, torch.cat([anchors[found.anchors].to(tokens), tokens], 1)

    def _anchors(self) -> tuple[Tensor, Tensor | None]:
        """A and its rows of norm 1, kept from call to call where nothing learns."""
        assert self.anchors is not None
        learning = torch.is_grad_enabled() and any(
            w.requires_grad for w in self.anchors.parameters()
        )
        if learning or torch.compiler.is_compiling():  # a graph has no addresses
            return self.anchors(), None
        held: list[Any] = [*self.anchors.parameters(), *self.anchors.buffers()]
        key = tuple(number for tensor in held for number in (tensor.data_ptr(), tensor._version))
        if self._kept is None or self._kept[0] != key:
            with torch.no_grad():
                anchors = self.anchors()
                self._kept = key, anchors, functional.normalize(anchors.float(), dim=-1)
        return self._kept[1], self._kept[2]

    def _unfold(self, steps: _Steps) -> Tensor:
        batch = steps.scale.mean.shape[0]
        forecast = steps.parts.sum(1).unflatten(0, (batch, -1)).transpose(1, 2)
        if self.norm_scale is not None and self.norm_shift is not None:
            forecast = (forecast - self.norm_shift) / self.norm_scale
        return restore(forecast, steps.scale)


def _fold(x: Float[Tensor, "batch time channels"]) -> Float[Tensor, "series time"]:
    return x.transpose(1, 2).flatten(0, 1)
