"""What S2IP's anchors do while it trains, told at every validation.

`train/anchors_used`: how many were ever chosen for a training window. `train/anchor_entropy`: of
the choices since the last validation, in nats. `val/token_word_mmd`: squared distance between the
tokens of validation windows and the language model's words, because a rising mean cosine
(`train/alignment`) can leave both clouds apart.
"""

import math
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from forecasting.evaluation.anchor_use import anchors_used, drawn_rows, squared_mmd, use_entropy
from forecasting.retrieval import Retrieved
from forecasting.s2ip import S2IP

SAMPLE = 512
"""Tokens, and words, that are compared."""


class AnchorReport(Callback):
    """Counts choices while training and compares tokens with words at validation.

    Args:
        network: Whose anchors.
        seed: Of the rows that are compared; the same ones at every validation.
    """

    def __init__(self, network: S2IP, seed: int) -> None:
        assert network.anchors is not None
        self.network, self.seed = network, seed
        self.ever = torch.zeros(network.config.anchors.count, dtype=torch.int64)
        self.recent = self.ever.clone()
        self.scoring, self.tokens = False, list[Tensor]()
        self.quota, self.generator = SAMPLE, torch.Generator()

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.network.watch = self._see

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        self.network.watch = None

    def on_validation_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        batches = int(sum(trainer.num_val_batches))
        self.scoring, self.quota = True, math.ceil(SAMPLE / max(1, batches))
        self.generator.manual_seed(self.seed)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        assert self.network.anchors is not None
        words = drawn_rows(self.network.anchors.words, SAMPLE, self.generator)
        self.ever += self.recent.cpu()
        pl_module.log_dict({
            "train/anchors_used": float(anchors_used(self.ever)),
            "train/anchor_entropy": use_entropy(self.recent),
            "val/token_word_mmd": squared_mmd(torch.cat(self.tokens), words),
        })  # fmt: skip
        self.recent.zero_()
        self.scoring, self.tokens = False, []

    def state_dict(self) -> dict[str, Any]:
        return {"ever": self.ever, "recent": self.recent}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.ever, self.recent = state_dict["ever"], state_dict["recent"]

    def _see(self, tokens: Tensor, found: Retrieved) -> None:
        if not self.scoring:
            chosen = found.anchors.flatten()
            self.recent = self.recent.to(chosen.device)
            self.recent.scatter_add_(0, chosen, torch.ones_like(chosen))
        else:
            self.tokens.append(drawn_rows(tokens.flatten(0, 1).float(), self.quota, self.generator))


def anchor_reports(network: nn.Module, seed: int) -> Sequence[Callback]:
    """The callback, for a network that retrieves anchors."""
    if isinstance(network, S2IP) and network.anchors is not None:
        return [AnchorReport(network, seed)]
    return []
