"""Weights of the released EvolveGCN code, in a network with `ibm_compat`.

There the layers stand in a plain list, which a state dict misses: what is read are the layers
themselves, objects with these attributes (by duck typing; no file is unpickled here):

    GCN_init_weights                            W_0
    evolve_weights.{update,reset,htilda}.{W,U,bias}   gates Z, R, H
    evolve_weights.choose_topk.scorer           p, [rows, 1]; of -O it has no effect
"""

from collections.abc import Sequence
from typing import Any

import torch

from foretell.blocks.matrix_cells import MatrixGRU
from graphs.evolvegcn import EvolveGCN
from graphs.weight_evolution import CellWeight

GATES = ("update", "reset", "htilda")
PARTS = {"of_input": "W", "of_weight": "U", "bias": "bias"}


@torch.no_grad()
def load_released(network: EvolveGCN, layers: Sequence[Any]) -> EvolveGCN:
    """Copy the released code's layers into a network of the same sizes.

    Args:
        network: -H or -O with matrix GRUs; changed in place.
        layers: GRCU objects, first to last.

    Returns:
        The network.

    Raises:
        ValueError: Another number of layers, another cell, or a tensor of another shape; the
            network is then partly changed.
    """
    if len(layers) != len(network.layers):
        raise ValueError(f"the network has {len(network.layers)} layers, got {len(layers)}")
    for place, (own, released) in enumerate(zip(network.layers, layers, strict=True)):
        if not isinstance(own.evolution, CellWeight) or not isinstance(
            own.evolution.cell, MatrixGRU
        ):
            raise ValueError("the released code has matrix GRUs: build the network with cell gru")
        cell, theirs = own.evolution.cell, released.evolve_weights
        pairs = {"GCN_init_weights": (cell.initial, released.GCN_init_weights)}
        for name, part in PARTS.items():
            stacked = torch.stack([getattr(getattr(theirs, gate), part) for gate in GATES])
            pairs[f"evolve_weights.*.{part}"] = (getattr(cell, name), stacked)
        if own.score is not None:
            pairs["choose_topk.scorer"] = (own.score, theirs.choose_topk.scorer.flatten())
        for name, (target, source) in pairs.items():
            if target.shape != source.shape:
                raise ValueError(
                    f"layer {place}: {name} is {list(source.shape)} in the released layer and "
                    f"{list(target.shape)} here"
                )
            target.copy_(source)
    return network
