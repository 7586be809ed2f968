"""From embeddings to answers: Linear, ReLU, Linear on pairs or nodes, and the weighted loss."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from graphs.keys import number_nodes
from graphs.pair_scores import pair_scores
from graphs.structure import StructureStep


def weighted_loss(
    logits: Float[Tensor, "samples classes"],
    labels: Int[Tensor, " samples"],
    class_weights: Sequence[float],
    *,
    norm: Literal["count", "weights"],
) -> Float[Tensor, ""]:
    """Sum of alpha[y] CE over the number of samples, or over the sum of their alpha.

    torch's `weight=` divides by the sum of alpha; the released code divides by the number.
    """
    loss = functional.cross_entropy(logits, labels, reduction="none")
    if not class_weights:
        return loss.mean()
    alpha = logits.new_tensor(list(class_weights))[labels]
    return (loss * alpha).sum() / (len(loss) if norm == "count" else alpha.sum())


def link_loss(
    scores: Float[Tensor, " pairs"],
    linked: Bool[Tensor, " pairs"],
    class_weights: Sequence[float],
    *,
    norm: Literal["count", "weights"],
    sample_weights: Float[Tensor, " pairs"] | None = None,
) -> Float[Tensor, ""]:
    """`weighted_loss` of two logits, from their difference.

    Args:
        scores: Logit of a link minus logit of none.
        linked: Which pairs have an edge.
        class_weights: alpha of no link and of a link; empty = 1 each.
        norm: What the sum is divided by.
        sample_weights: Further weight of every pair; their sum then stands for the number.
    """
    loss = functional.softplus(torch.where(linked, -scores, scores))
    number: Tensor | float = float(len(scores))
    if sample_weights is not None:
        loss, number = loss * sample_weights, sample_weights.sum()
    if not class_weights:
        return loss.sum() / number
    of_none, of_link = scores.new_tensor(list(class_weights))
    alpha = torch.where(linked, of_link, of_none)
    if norm == "weights":
        number = alpha.sum() if sample_weights is None else (alpha * sample_weights).sum()
    return (loss * alpha).sum() / number


class NodeDecoder(nn.Module):
    """Linear(dim, hidden) - ReLU - Linear(hidden, outputs) on every node."""

    def __init__(self, dim: int, hidden_dim: int, num_outputs: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, num_outputs)

    def forward(self, x: Float[Tensor, "nodes dim"]) -> Float[Tensor, "nodes outputs"]:
        """Answers of the nodes."""
        outputs: Tensor = self.out(torch.relu(self.hidden(x)))
        return outputs


class PairDecoder(nn.Module):
    """Linear(2 dim + columns, hidden) - ReLU - Linear(hidden, outputs) on concat(h_u, h_v, e_uv).

    Args:
        dim: Width of what a node brings: embedding and structure.
        hidden_dim: m.
        num_outputs: Classes; of links 2.
        pair_columns: Width of what a pair brings; zeros where it has nothing.
    """

    def __init__(
        self, dim: int, hidden_dim: int, num_outputs: int = 2, *, pair_columns: int = 0
    ) -> None:
        super().__init__()
        self.dim, self.pair_columns = dim, pair_columns
        self.hidden = nn.Linear(2 * dim + pair_columns, hidden_dim)
        self.out = nn.Linear(hidden_dim, num_outputs)

    def forward(
        self,
        x: Float[Tensor, "nodes dim"],
        pairs: Int[Tensor, "2 pairs"],
        columns: Float[Tensor, "pairs columns"] | None = None,
    ) -> Float[Tensor, "pairs outputs"]:
        """Logits of given pairs, as written in the paper."""
        parts = [x[pairs[0]], x[pairs[1]]] + ([] if columns is None else [columns])
        logits: Tensor = self.out(torch.relu(self.hidden(torch.cat(parts, dim=1))))
        return logits

    def terms(
        self, sources: Float[Tensor, "sources dim"], targets: Float[Tensor, "targets dim"]
    ) -> tuple[Float[Tensor, "sources hidden"], Float[Tensor, "targets hidden"]]:
        """P and Q: the hidden layer of (u, v) is relu(P[u] + Q[v] + that of the pair's columns)."""
        weight, dim = self.hidden.weight, self.dim
        return sources @ weight[:, :dim].T, targets @ weight[:, dim : 2 * dim].T + self.hidden.bias

    @property
    def difference(self) -> tuple[Float[Tensor, " hidden"], Float[Tensor, ""]]:
        """Weights and bias of logit 1 minus logit 0."""
        return self.out.weight[1] - self.out.weight[0], self.out.bias[1] - self.out.bias[0]

    def of_columns(self, columns: Float[Tensor, "some columns"]) -> Float[Tensor, "some hidden"]:
        """What a pair's own columns add to its hidden layer."""
        return columns @ self.hidden.weight[:, 2 * self.dim :].T

    def scores(
        self,
        x: Float[Tensor, "nodes dim"],
        pairs: Int[Tensor, "2 pairs"],
        structure: StructureStep | None = None,
    ) -> Float[Tensor, " pairs"]:
        """Logit 1 minus logit 0 of pairs, the fast way; fastest where sources ascend."""
        sources, u = number_nodes(pairs[0], len(x))
        targets, v = number_nodes(pairs[1], len(x))
        p, q = self.terms(x[sources], x[targets])
        w, bias = self.difference
        extra = extra_at = None
        if structure is not None and self.pair_columns:
            extra_at, columns = structure.find(pairs[0] * len(x) + pairs[1])
            extra = self.of_columns(columns.to(x.dtype))
        return pair_scores(p, q, w, torch.stack([u, v]), extra, extra_at) + bias
