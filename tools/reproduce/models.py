"""One frame around every sequence block, so that the blocks alone differ."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from foretell.blocks.positional import sinusoid

Mixer = Callable[[], nn.Module]
"""Makes a block: [batch, time, dim] -> ([batch, time, dim], state)."""


class SequenceModel(nn.Module):
    """Embedding, pre-norm residual layers of a block and an MLP each, norm, classes.

    Args:
        embed: Inputs to [batch, time, dim].
        mixers: Makes the block of each layer.
        dim: Width.
        classes: Width of the answer.
        feedforward_dim: Width of the MLPs; 0 = no MLPs.
        positions: Add sinusoidal positions to the embedding.
    """

    def __init__(
        self,
        embed: nn.Module,
        mixers: Sequence[Mixer],
        *,
        dim: int,
        classes: int,
        feedforward_dim: int,
        positions: bool = False,
    ) -> None:
        super().__init__()
        self.embed, self.positions = embed, positions
        self.layers = nn.ModuleList(Layer(make(), dim, feedforward_dim) for make in mixers)
        self.norm, self.head = nn.LayerNorm(dim), nn.Linear(dim, classes)

    def forward(
        self, inputs: Tensor, scored: Bool[Tensor, "batch time"]
    ) -> Float[Tensor, "scored classes"]:
        """Logits of the scored steps."""
        x = self.embed(inputs)
        if self.positions:
            places = torch.arange(x.shape[1], dtype=x.dtype, device=x.device)
            x = x + sinusoid(places, x.shape[-1])
        for layer in self.layers:
            x = layer(x)
        logits: Tensor = self.head(self.norm(x[scored]))
        return logits


class Layer(nn.Module):
    """h = x + mixer(norm(x)), h + MLP(norm(h))."""

    def __init__(self, mixer: nn.Module, dim: int, feedforward_dim: int) -> None:
        super().__init__()
        self.mixer, self.mixer_norm = mixer, nn.LayerNorm(dim)
        self.mlp = None
        if feedforward_dim:
            self.mlp = nn.Sequential(
                nn.LayerNorm(dim),
                nn.Linear(dim, feedforward_dim),
                nn.GELU(),
                nn.Linear(feedforward_dim, dim),
            )

    def forward(self, x: Float[Tensor, "batch time dim"]) -> Float[Tensor, "batch time dim"]:
        """One layer."""
        x = x + self.mixer(self.mixer_norm(x))[0]
        return x if self.mlp is None else x + self.mlp(x)


def matched_width(build: Callable[[int], nn.Module], parameters: int) -> int:
    """Width of the MLPs with which a model comes nearest to a number of parameters."""
    one, two = count_parameters(build(1)), count_parameters(build(2))
    width = 1 + round((parameters - one) / (two - one))
    if width < 1:
        raise ValueError(f"parameters must be at least {one} for this model, got {parameters}")
    return width


def count_parameters(model: nn.Module) -> int:
    """Learned numbers."""
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


class IdentifierEmbedding(nn.Module):
    """Sum of the vectors of a step's identifiers; identifier 0 means nothing and adds nothing."""

    def __init__(self, num_identifiers: int, dim: int) -> None:
        super().__init__()
        self.table = nn.Embedding(num_identifiers, dim, padding_idx=0)

    def forward(self, inputs: Tensor) -> Float[Tensor, "batch time dim"]:
        """inputs: [batch, time, fields] int64."""
        summed: Tensor = self.table(inputs).sum(2)
        return summed


class CausalAttention(nn.Module):
    """Softmax attention of every step over itself and all before it, the Transformer's."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value, self.output = (nn.Linear(dim, dim) for _ in range(4))
        for layer in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, x: Float[Tensor, "batch time dim"]
    ) -> tuple[Float[Tensor, "batch time dim"], None]:
        """All steps; no state."""
        q, k, v = (
            part(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.output(mixed.transpose(1, 2).flatten(2)), None
