"""One graph convolution whose weight evolves: a layer of EvolveGCN."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from graphs.data.features import OneHot
from graphs.inputs import GraphInput
from graphs.model_config import Activation, ModelConfig
from graphs.weight_evolution import build_evolution

RRELU_SLOPES = (1 / 8, 1 / 3)
"""torch's own, as in the released code; in eval mode the slope is their mean, 11/48."""


class EvolvingConvolution(nn.Module):
    """H' = act(Ahat H W_t), W_t from W_{t-1} and, in -H, from the k rows of H that score highest.

    Paper, section 3: eq. 1 (convolution), 3.4 (-H: W_t = g(S^T, W_{t-1}), S = summarise(H, k)),
    3.5 (-O: W_t from W_{t-1} alone).

    Args:
        config: Version, cell, mask.
        in_dim: r, width of H and rows of W.
        out_dim: c, width of H' and columns of W; also k.
        activation: After the convolution.
    """

    def __init__(
        self, config: ModelConfig, in_dim: int, out_dim: int, *, activation: Activation
    ) -> None:
        super().__init__()
        self.in_dim, self.out_dim, self.activation = in_dim, out_dim, activation
        self.mask = config.mask
        self.evolution = build_evolution(config, in_dim, out_dim)
        self.score = nn.Parameter(torch.empty(in_dim)) if config.version == "h" else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """p uniform within 1/sqrt(r); the rest starts itself."""
        if self.score is not None:
            bound = self.in_dim**-0.5
            nn.init.uniform_(self.score, -bound, bound)

    def extra_repr(self) -> str:
        """Sizes for `print(module)`."""
        return f"{self.in_dim}, {self.out_dim}, activation={self.activation}"

    def prepare(self) -> Any:
        """What all steps of a pass share; for `evolve`."""
        return self.evolution.prepare(summarised=self.score is not None)

    def evolve(self, state: Any, step: GraphInput, features: Any, shared: Any = None) -> Any:
        """W_t; `features` are the layer's input H_t, which -O does not look at."""
        if self.score is None:
            return self.evolution.evolve(state, shared=shared)
        allowed = step.present
        if self.mask:
            allowed = step.active if allowed is None else step.active & allowed
        return self.evolution.evolve(state, self.summarise(features, allowed), shared)

    def summarise(
        self,
        features: OneHot | Float[Tensor, "nodes in_dim"],
        allowed: Bool[Tensor, " nodes"] | None = None,
    ) -> Float[Tensor, "in_dim out_dim"]:
        """S^T: the `out_dim` rows of highest y = H p / |p|, scaled by tanh(y), as columns.

        Fewer rows than that: the lowest repeats. None at all: zeros (the released code fails).

        Args:
            features: H; the choice of rows has no gradient, H, p and |p| in tanh(y) do.
            allowed: Rows to choose from; none = all.
        """
        assert self.score is not None
        direction = self.score / self.score.norm()
        if isinstance(features, OneHot):
            y: Tensor = direction[features.index]
        else:
            y = features @ direction
        count = min(self.out_dim, len(y) if allowed is None else int(allowed.sum()))
        if count == 0:
            return y.new_zeros(self.in_dim, self.out_dim)
        ranked = y if allowed is None else y.masked_fill(~allowed, -torch.inf)
        top = ranked.detach().topk(count).indices
        top = torch.cat([top, top[-1:].expand(self.out_dim - count)])
        scale = torch.tanh(y[top])
        if isinstance(features, OneHot):
            place = (features.index[top], torch.arange(self.out_dim, device=y.device))
            return y.new_zeros(self.in_dim, self.out_dim).index_put(place, scale)
        summary: Tensor = features[top] * scale[:, None]
        return summary.T

    def convolve(
        self,
        step: GraphInput,
        features: OneHot | Float[Tensor, "nodes in_dim"],
        weight: Float[Tensor, "in_dim out_dim"],
    ) -> Float[Tensor, "nodes out_dim"]:
        """act(Ahat H W); of a one-hot H the product H W is a choice of rows of W."""
        if isinstance(features, OneHot):
            mixed = functional.embedding(features.index, weight)
        else:
            mixed = features @ weight.to(features.dtype)
        return self.activate(step.adjacency.propagate(mixed))

    def activate(self, x: Float[Tensor, "nodes out_dim"]) -> Float[Tensor, "nodes out_dim"]:
        """The activation; RReLU draws its slopes in training and has a fixed one in eval mode."""
        match self.activation:
            case "relu":
                return functional.relu(x)
            case "rrelu":
                return functional.rrelu(x, *RRELU_SLOPES, training=self.training)
            case "tanh":
                return torch.tanh(x)
            case "identity":
                return x
