"""Which anchors stand before the tokens of a series: the K of highest cosine."""

from contextlib import nullcontext
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

Query = Literal["mean", "patch_mean", "patch_max"]


class Retrieved(NamedTuple):
    """The chosen anchors of each series, the most similar first."""

    anchors: Int[Tensor, "series chosen"]
    """Their numbers."""
    cosine: Float[Tensor, "series chosen"]
    """With a gradient to tokens and anchors."""


def retrieve(
    tokens: Float[Tensor, "series tokens dim"],
    anchors: Float[Tensor, "anchors dim"],
    count: int,
    *,
    query: Query = "mean",
    normed: Float[Tensor, "anchors dim"] | None = None,
) -> Retrieved:
    """One set of anchors a series; of equal cosines the lower index comes first.

    The choice itself has no gradient: anchors learn through the chosen rows alone. Cosines are
    float32 under autocast too.

    Args:
        tokens: Of the patches.
        anchors: A, as they are.
        count: K.
        query: mean = cosine of the mean token; patch_mean, patch_max = mean or largest cosine of
            the tokens.
        normed: A with rows of norm 1, where it is at hand.
    """
    # Graphs are made outside of autocast, and torch cannot save a switch of it.
    compiling = torch.compiler.is_compiling()
    with nullcontext() if compiling else torch.autocast(tokens.device.type, enabled=False):
        tokens, anchors = tokens.float(), anchors.float()
        asked = _asked(tokens, query)
        with torch.no_grad():
            unit = functional.normalize(anchors, dim=-1) if normed is None else normed
            index = _top(_largest(asked, unit), count)
        chosen = functional.normalize(anchors[index], dim=-1)
        cosine = (asked @ chosen.transpose(1, 2)).amax(1)
    return Retrieved(index, cosine)


@torch.no_grad()
def anchor_cosines(
    tokens: Float[Tensor, "series tokens dim"],
    anchors: Float[Tensor, "anchors dim"],
    *,
    query: Query = "mean",
) -> Float[Tensor, "series anchors"]:
    """What `retrieve` chooses by: the cosine of every series with every anchor."""
    unit = functional.normalize(anchors.float(), dim=-1)
    return _largest(_asked(tokens.float(), query), unit)


def _asked(tokens: Tensor, query: Query) -> Tensor:
    """[series, queries, dim], of norm 1 but for patch_mean."""
    if query == "mean":
        return functional.normalize(tokens.mean(1), dim=-1)[:, None]
    asked = functional.normalize(tokens, dim=-1)
    # the mean of cosines is the cosine's mean query
    return asked.mean(1, keepdim=True) if query == "patch_mean" else asked


def _largest(asked: Tensor, unit: Tensor) -> Tensor:
    """Largest cosine of any query of a series, query by query."""
    best = asked[:, 0] @ unit.T
    for place in range(1, asked.shape[1]):
        best = torch.maximum(best, asked[:, place] @ unit.T)
    return best


def _top(cosines: Float[Tensor, "series anchors"], count: int) -> Int[Tensor, "series chosen"]:
    """Indices of the largest, ties to the lower index, which topk alone does not promise."""
    if count == 0:
        return cosines.new_zeros(len(cosines), 0, dtype=torch.int64)
    if torch.compiler.is_compiling():
        # A graph has no branch on values, ONNX no stable sort; its own TopK breaks ties as we do.
        return cosines.topk(count).indices
    found = cosines.topk(min(count + 1, cosines.shape[1]))
    index = found.indices[:, :count].clone()
    tied = (found.values[:, 1:] == found.values[:, :-1]).any(1)
    if bool(tied.any()):
        order = cosines[tied].sort(dim=1, descending=True, stable=True).indices
        index[tied] = order[:, :count]
    return index


def retrieve_naive(
    tokens: Float[Tensor, "series tokens dim"],
    anchors: Float[Tensor, "anchors dim"],
    count: int,
    *,
    query: Query = "mean",
) -> list[list[int]]:
    """Loop oracle of the choice."""
    chosen = []
    for row in tokens:
        scores = []
        for anchor in anchors:
            if query == "mean":
                cosine = functional.cosine_similarity(row.mean(0), anchor, dim=0)
            else:
                each = torch.stack(
                    [functional.cosine_similarity(token, anchor, dim=0) for token in row]
                )
                cosine = each.mean() if query == "patch_mean" else each.max()
            scores.append(float(cosine))
        order = sorted(range(len(scores)), key=lambda place: (-scores[place], place))
        chosen.append(order[:count])
    return chosen
