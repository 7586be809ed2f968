"""The training loop around a network: Lightning steps, validation, the best epoch kept."""

import hashlib
import logging
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.data import DataLoader, TensorDataset

from foretell.best_epoch import BestEpoch
from foretell.blocks.protocol import detach_state
from foretell.checkpoints import check_architecture
from foretell.config import RunOptions, to_dict
from foretell.errors import UserError
from foretell.loader import EpochSampler, ResumableLoader
from foretell.run import RunDirectory
from foretell.trainer import build_trainer
from graphs.config import TrainConfig
from graphs.data.snapshots import SnapshotSequence
from graphs.data.splits import Split
from graphs.graph_data import GraphData, training_chunks
from graphs.network import GraphNetwork
from graphs.objectives import build_objective
from graphs.validation import validate

_log = logging.getLogger(__name__)

LOWER_IS_BETTER = ("mse",)


class GraphModule(lightning.LightningModule):
    """Steps, logging and optimiser; a batch is one time step, or a chunk of a carried state.

    A carried state starts anew with each epoch and is cut from its gradient between chunks, so
    that W_0 is trained by the first chunk alone.
    """

    def __init__(
        self, config: TrainConfig, network: GraphNetwork, data: GraphData, split: Split, seed: int
    ) -> None:
        super().__init__()
        self.config, self.network = config, network
        self.data, self.split, self.seed = data, split, seed
        self.objective = build_objective(config)
        self.identity = _identity(config, data.sequence)
        self._state: Any = None

    def training_step(self, batch: list[int], batch_idx: int) -> Tensor | None:
        """Mean loss of the samples of a batch; none where no step has a target."""
        losses = [
            loss
            for step, x in zip(batch, self._decoder_inputs(batch, batch_idx), strict=True)
            if (loss := self.objective.loss(self.network, x, self.data, step)) is not None
        ]
        if not losses:
            return None
        loss = torch.stack(losses).mean()
        if not bool(loss.isfinite()):
            raise UserError(
                f"the loss is {loss.item()} at step {batch[0]} of the data: lower optim.lr or "
                "set optim.grad_clip"
            )
        self.log("train/loss", loss, batch_size=1)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """All validation steps at once, with frozen parameters, from the first step on."""
        share = self.config.stop.negatives_share
        scores = validate(
            self.network, self.data, self.split, seed=self.seed, negatives_share=share
        )
        self.log_dict({f"val/{name}": value for name, value in scores.items()}, batch_size=1)

    def train_dataloader(self) -> ResumableLoader:
        """The training steps in the order of time."""
        model = self.config.model
        length = model.tbptt if model.state == "carry" else 1
        chunks = training_chunks(self.split.train, length)
        sampler = EpochSampler(len(chunks), 1, shuffle=False)
        return ResumableLoader(_Chunks(chunks), sampler, collate_fn=_only)

    def val_dataloader(self) -> DataLoader[Any]:
        """One batch that stands for the whole validation part."""
        return DataLoader(TensorDataset(torch.zeros(1)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam, constant rate; one for all weights is the released code's two of equal rate."""
        optim = self.config.optim
        return torch.optim.AdamW(
            self.network.parameters(), lr=optim.lr, weight_decay=optim.weight_decay, fused=True
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what was trained on what, and the carried state, so that a run stopped inside an
        epoch goes on exactly."""
        checkpoint["identity"] = self.identity
        if self._state is not None:
            checkpoint["carried_state"] = list(tree_flatten(self._state)[0])

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse another architecture, configuration or graph; restore the carried state."""
        check_architecture(self, checkpoint)
        stored = checkpoint.get("identity", {})
        for name, own in self.identity.items():
            if stored.get(name) != own:
                raise UserError(
                    f"checkpoint {self.trainer.ckpt_path} has {name} {stored.get(name)}, now "
                    f"it is {own}: resume with the config.yaml of its run, or give another --out"
                )
        if (leaves := checkpoint.get("carried_state")) is not None:
            assert self.network.embedder is not None
            state = self.network.embedder.init_state(self.data.sequence.num_nodes)
            self._state = tree_unflatten(leaves, tree_flatten(state)[1])

    def _decoder_inputs(self, steps: list[int], batch_idx: int) -> list[Tensor]:
        model, embedder = self.config.model, self.network.embedder
        if embedder is None:
            embeddings: list[Any] = [None] * len(steps)
        elif model.state == "window":
            windows = (self.data.window(step, model.context) for step in steps)
            embeddings = [embedder(window)[0] for window in windows]
        else:
            state = None if batch_idx == 0 else self._state
            inputs = [self.data.input(step) for step in steps]
            embeddings, state = embedder.every_step(inputs, state)
            self._state = detach_state(state)
        return [
            self.network.inputs_of_decoder(embedding, self.data.structure_at(step))
            for step, embedding in zip(steps, embeddings, strict=True)
        ]


def fit(
    config: TrainConfig,
    network: GraphNetwork,
    data: GraphData,
    split: Split,
    run: RunDirectory,
    options: RunOptions,
) -> dict[str, float]:
    """Train a network and leave it with the weights of its best epoch, in eval mode.

    Returns:
        `epochs` run, `best_epoch` (both from 1) and the watched `best_value` of validation during
        training.
    """
    best = BestEpoch(
        config.watched, config.stop.patience, lower_is_better=config.watched in LOWER_IS_BETTER
    )
    trainer = build_trainer(
        config.trainer, run, options, [best], gradient_clip_val=config.optim.grad_clip or None
    )
    module = GraphModule(config, network, data, split, options.seed)
    trainer.fit(module, ckpt_path=run.resume_path(options))
    return best.restore(network, trainer)


def _identity(config: TrainConfig, sequence: SnapshotSequence) -> dict[str, str]:
    """What a checkpoint can be resumed with, part by part; the path of the data may change."""
    parts = (
        "task", "ibm_compat", "split", "features", "model", "head", "structure", "negatives",
        "optim",
    )  # fmt: skip
    sizes = [(step.num_edges, float(step.weight.sum())) for step in sequence]
    known = hashlib.sha256(repr((sequence.node_ids.tolist(), sizes)).encode()).hexdigest()[:12]
    values = to_dict(config)
    found = {"graph": known}
    for part in parts:
        fields = values[part] if isinstance(values[part], dict) else {"": values[part]}
        found |= {f"{part}.{name}".rstrip("."): str(value) for name, value in fields.items()}
    return found


class _Chunks:
    """The data set behind the loader: keys are (epoch, number)."""

    def __init__(self, chunks: list[list[int]]) -> None:
        self.chunks = chunks

    def __getitem__(self, key: tuple[int, int]) -> list[int]:
        return self.chunks[key[1]]

    def __len__(self) -> int:
        return len(self.chunks)


def _only(batch: list[list[int]]) -> list[int]:
    return batch[0]
