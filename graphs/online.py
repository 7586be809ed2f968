"""A link predictor that keeps learning: fine-tuned on every step once it is revealed.

Of the protocol `live` (ROLAND, KDD 2022) and of `fixed_online`. A step is scored before its edges
are seen; what it teaches changes the scores of later steps alone.
"""

import copy
from collections import deque

import torch
from jaxtyping import Float, Int
from torch import Tensor

from graphs.config import OnlineConfig
from graphs.data.snapshots import Snapshot
from graphs.graph_data import active_nodes
from graphs.inputs import InputBuilder
from graphs.network import GraphNetwork
from graphs.objectives import LinkObjective
from graphs.walk import TrainedLinks

HELD_SHARE = 0.1
"""Of a revealed step's pairs, for early stopping, where the protocol names none."""


class OnlineLinks(TrainedLinks):
    """See `LinkPredictor`.

    Args:
        network: Its parameters are changed.
        builder: Makes inputs of snapshots.
        num_nodes: N.
        objective: The loss; its negatives are drawn anew at every optimiser step.
        online: Epochs and patience.
        lr: Learning rate where `online` has none.
        seed: Of all draws.
        learn_from: First step whose edges are learned; earlier ones were seen in training.
    """

    def __init__(
        self,
        network: GraphNetwork,
        builder: InputBuilder,
        num_nodes: int,
        *,
        objective: LinkObjective,
        online: OnlineConfig,
        lr: float,
        seed: int,
        learn_from: int = 1,
    ) -> None:
        super().__init__(network, builder, num_nodes)
        self.objective, self.online, self.seed = objective, online, seed
        self.lr = lr if online.lr is None else online.lr
        self._active: deque[Tensor] = deque(maxlen=objective.context + 1)
        self._steps, self.learn_from = 0, max(1, learn_from)

    def update(
        self,
        snapshot: Snapshot,
        *,
        fit: Int[Tensor, "2 fit"] | None = None,
        hold: Int[Tensor, "2 hold"] | None = None,
    ) -> None:
        """Learn from the revealed pairs what the step before should have said, then go on."""
        if self._steps >= self.learn_from and snapshot.num_edges:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed * 1_000_003 + self._steps)
                self._learn(snapshot, *self._parts(snapshot, fit, hold))
            with torch.no_grad():
                self.walk.repeat_last()
        self._active.append(active_nodes(snapshot))
        self._steps += 1
        super().update(snapshot)

    def _parts(
        self, snapshot: Snapshot, fit: Tensor | None, hold: Tensor | None
    ) -> tuple[Int[Tensor, " fit"], Int[Tensor, " hold"]]:
        """Keys of the pairs to learn from and to stop by; never one direction in each."""
        if fit is not None and hold is not None:
            return fit[0] * self.num_nodes + fit[1], hold[0] * self.num_nodes + hold[1]
        source, target = snapshot.edge_index
        either = torch.minimum(source, target) * self.num_nodes + torch.maximum(source, target)
        pairs, place = torch.unique(either, return_inverse=True)
        held = torch.zeros(len(pairs), dtype=torch.bool)
        held[torch.randperm(len(pairs))[: int(HELD_SHARE * len(pairs))]] = True
        return snapshot.pair_keys[~held[place]], snapshot.pair_keys[held[place]]

    def _learn(
        self, target: Snapshot, fit: Int[Tensor, " fit"], hold: Int[Tensor, " hold"]
    ) -> None:
        """Optimiser steps until the held pairs get no better; the best parameters are restored."""
        network = self.network
        pool = torch.cat(list(self._active))
        if not len(fit) or not len(pool):
            return
        optimizer = torch.optim.Adam(network.parameters(), lr=self.lr, fused=True)
        best, best_loss, waited = copy.deepcopy(network.state_dict()), torch.inf, 0
        held = hold if len(hold) else fit
        for _ in range(self.online.max_epochs):
            loss = self._held_loss(target, held, pool)
            if loss < best_loss:
                best, best_loss, waited = copy.deepcopy(network.state_dict()), loss, 0
            else:
                waited += 1
                if waited >= self.online.patience:
                    break
            network.train()
            optimizer.zero_grad()
            self._loss(target, fit, pool).backward()
            optimizer.step()
        if not self._held_loss(target, held, pool) < best_loss:  # NaN as well
            network.load_state_dict(best)
        network.eval()

    def _loss(
        self, target: Snapshot, keys: Int[Tensor, " keys"], pool: Int[Tensor, " entries"]
    ) -> Float[Tensor, ""]:
        x = self.walk.repeat_last()
        return self.objective.pair_loss(
            self.network, x, target, self.walk.structure, pool, positives=keys
        )

    @torch.no_grad()
    def _held_loss(
        self, target: Snapshot, keys: Int[Tensor, " keys"], pool: Int[Tensor, " entries"]
    ) -> float:
        """The same negatives at every call of a step."""
        self.network.eval()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed * 1_000_003 + self._steps)
            return float(self._loss(target, keys, pool))
