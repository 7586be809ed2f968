"""Classes of pairs of nodes from the labels of their edges."""

import numpy as np
import torch
from jaxtyping import Int, Num
from numpy import ndarray
from torch import Tensor

UNKNOWN = -1
"""Class of what has no label."""


def rating_labels(rating: Num[ndarray, " edges"]) -> Int[ndarray, " edges"]:
    """Class 1 of a positive rating, else 0 (Bitcoin OTC and Alpha, Reddit's sentiment)."""
    return (rating > 0).astype(np.int64)


def majority_labels(
    pair: Int[Tensor, " edges"], label: Int[Tensor, " edges"], num_pairs: int
) -> Int[Tensor, " pairs"]:
    """The class that most edges of a pair have; of tied classes the smallest.

    With two classes this is the rule of the released code of EvolveGCN: a tie is class 0.

    Args:
        pair: Number of the pair of every edge, as `merge_pairs` gives it.
        label: Class of every edge; -1 = unknown, which has no vote.
        num_pairs: Pairs; one without a vote is unknown, -1.

    Example:
        >>> pair, label = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([1, 0, 1, 1, 0])
        >>> majority_labels(pair, label, 3)
        tensor([ 1,  0, -1])
    """
    result = torch.full((num_pairs,), UNKNOWN, dtype=torch.int64)
    known = label != UNKNOWN
    if not known.any():
        return result
    num_classes = int(label.max()) + 1
    key, votes = torch.unique(pair[known] * num_classes + label[known], return_counts=True)
    voted, candidate = (key // num_classes).numpy(), (key % num_classes).numpy()
    best = np.lexsort((candidate, -votes.numpy(), voted))  # pair, then votes, then class
    first = np.flatnonzero(np.diff(voted[best], prepend=-1))
    result[torch.from_numpy(voted[best][first])] = torch.from_numpy(candidate[best][first])
    return result
