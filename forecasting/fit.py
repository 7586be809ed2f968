"""The training loop around a forecaster: Lightning steps, all validation windows, best epoch."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import lightning
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from forecasting.anchor_report import anchor_reports
from forecasting.config import FitConfig
from forecasting.data.covariates import forecast
from forecasting.data.m4_windows import RandomCuts
from forecasting.data.windows import Batch, Windows
from forecasting.evaluation.errors import ForecastErrors
from forecasting.evaluation.symmetric import smape_loss
from foretell.best_epoch import BestEpoch
from foretell.config import RunOptions, TrainerConfig
from foretell.errors import UserError
from foretell.loader import EpochSampler, ResumableLoader
from foretell.run import RunDirectory
from foretell.time_estimate import TimeEstimate
from foretell.trainer import build_trainer

SCORED_BATCH = 256
"""Windows scored at a time."""


@runtime_checkable
class OwnLoss(Protocol):
    """A network with more than the forecast's error to train by."""

    def loss(self, x: Any, y: Tensor) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Of a batch, and its parts by name; `mse` among them with weight 1 where it is one."""
        ...


class Loss(NamedTuple):
    """What is minimised in training, and what the best epoch has least of in validation."""

    kind: Literal["mse", "smape"] = "mse"
    mae_weight: float = 0.0
    """smape: so much of the mean absolute error beside it."""


SQUARED = Loss()


class SeriesModule(lightning.LightningModule):
    """Errors of forecasts; validation is the mean over all windows.

    Args:
        network: [batch, context, channels] -> [batch, horizon, channels].
        config: Rates and sizes.
        train: Training windows.
        val: Validation windows.
        seed: Of the order of the windows.
        loss: Which error.
    """

    def __init__(
        self,
        network: nn.Module,
        config: FitConfig,
        train: Windows | RandomCuts,
        val: Windows,
        seed: int,
        loss: Loss = SQUARED,
    ) -> None:
        super().__init__()
        self.network, self.config, self.seed, self.loss = network, config, seed, loss
        self.train_windows, self.val_windows = train, val
        self.errors = ForecastErrors.zeros(val.horizon, val.num_channels)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean error of a batch, with the network's own terms where it has some."""
        loss, parts = batch_loss(self.network, *batch, self.loss)
        if not bool(loss.isfinite()):
            raise UserError(
                f"the loss is {loss.item()} in epoch {self.current_epoch + 1}: lower the learning "
                "rate (fits.*.lr)"
            )
        if self.trainer._logger_connector.should_update_logs:  # the others are not written
            named = {f"train/{name}": value for name, value in parts.items()}
            self.log_dict(named | {"train/loss": loss.detach()}, batch_size=len(batch[1]))
        return loss

    def on_validation_epoch_start(self) -> None:
        self.errors = ForecastErrors.zeros(self.val_windows.horizon, self.val_windows.num_channels)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the windows of a batch."""
        x, y = batch
        self.errors.update(y, forecast(self.network, x))

    def on_validation_epoch_end(self) -> None:
        errors, loss = self.errors, self.loss
        if self.trainer.world_size > 1:
            errors = errors.summed(self.trainer.strategy.reduce, self.device)
        found = {"mse": errors.mse, "mae": errors.mae}
        if loss.kind == "smape":
            found |= {"smape": errors.smape}
        found["loss"] = found[loss.kind] + loss.mae_weight * found["mae"]
        self.log_dict({f"val/{name}": value for name, value in found.items()})

    def train_dataloader(self) -> ResumableLoader:
        """Windows in a new order each epoch; what does not fill the last batch waits for another
        order."""
        world = self.trainer.world_size
        own, rest = divmod(self.config.batch, world)
        if rest:
            raise UserError(
                f"a batch of {self.config.batch} windows cannot be shared by {world} processes: "
                "choose a multiple"
            )
        sampler = EpochSampler(
            len(self.train_windows), own, seed=self.seed, rank=self.trainer.global_rank,
            world_size=world,
        )  # fmt: skip
        return ResumableLoader(self.train_windows, sampler, collate_fn=_as_is)

    def val_dataloader(self) -> DataLoader[Any]:
        """Every window once, shared by the processes."""
        rank, world = self.trainer.global_rank, self.trainer.world_size
        count = len(self.val_windows)
        if count < world:
            raise UserError(f"{count} validation windows cannot be shared by {world} processes")
        own = _InOrder(self.val_windows, range(count * rank // world, count * (rank + 1) // world))
        return DataLoader(own, batch_size=None, collate_fn=_as_is)

    def configure_optimizers(self) -> Any:
        """Adam; the rate falls by `decay` from the third epoch on."""
        trained = [weight for weight in self.network.parameters() if weight.requires_grad]
        optimizer = torch.optim.Adam(trained, lr=self.config.lr)
        decay = self.config.decay
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda epoch: decay ** max(0, epoch - 1)
        )
        return {"optimizer": optimizer, "lr_scheduler": schedule}


class _InOrder(Dataset[Batch]):
    """Batches of some of the windows in their order, the last one smaller."""

    def __init__(self, windows: Windows, share: range) -> None:
        self.windows, self.share = windows, share
        self.starts = range(share.start, share.stop, SCORED_BATCH)

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, place: int) -> Batch:
        start = self.starts[place]
        return self.windows.gather(torch.arange(start, min(start + SCORED_BATCH, self.share.stop)))


def batch_loss(
    network: nn.Module, x: Any, y: Tensor, loss: Loss
) -> tuple[Tensor, Mapping[str, Tensor]]:
    """Error of a batch's forecasts, plus the network's own terms; its parts by name.

    Args:
        network: The forecaster.
        x: [batch, context, channels]; with covariates where the network takes some.
        y: [batch, horizon, channels]; with smape NaN where nothing is known.
        loss: Which error.
    """
    if loss.kind == "mse":
        if isinstance(network, OwnLoss):
            return network.loss(x, y)
        return functional.mse_loss(forecast(network, x), y), {}
    found = network(x)
    parts = {"smape": smape_loss(found, y)}
    error = parts["smape"]
    if loss.mae_weight:
        parts["mae"] = (found - y)[~y.isnan()].abs().mean()
        error = error + loss.mae_weight * parts["mae"]
    if not isinstance(network, OwnLoss):
        return error, parts
    # Its terms stand beside a squared error, which is taken out again; targets that nobody knows
    # are the forecast's own values.
    whole, own = network.loss(x, y.where(~y.isnan(), found.detach()))
    parts |= {name: value for name, value in own.items() if name != "mse"}
    return error + whole - own["mse"], parts


class Fitted(NamedTuple):
    """How a training went."""

    epochs: int
    """That were run."""
    windows_per_epoch: int
    """In whole batches."""
    device: str


def fit(
    network: nn.Module,
    config: FitConfig,
    train: Windows | RandomCuts,
    val: Windows,
    trainer_config: TrainerConfig,
    run: RunDirectory,
    options: RunOptions,
    *,
    loss: Loss = SQUARED,
) -> Fitted:
    """Train a network and leave it with the weights of its best epoch, in eval mode, on the CPU."""
    steps = max(1, len(train) // config.batch)
    if config.windows_per_epoch is not None:
        steps = min(steps, max(1, config.windows_per_epoch // config.batch))
    if config.val_windows is not None:
        val = val.spaced(config.val_windows)
    best = BestEpoch("loss", config.patience, lower_is_better=True)
    settings = replace(trainer_config, max_epochs=config.max_epochs, limit_train_batches=steps)
    estimate = TimeEstimate(type(network).__name__)
    callbacks = [best, estimate, *anchor_reports(network, options.seed)]
    trainer = build_trainer(settings, run, options, callbacks)
    module = SeriesModule(network, config, train, val, options.seed, loss)
    trainer.fit(module, ckpt_path=run.resume_path(options))
    epochs = int(best.restore(network.cpu(), trainer)["epochs"])
    return Fitted(epochs, steps * config.batch, str(trainer.strategy.root_device))


@torch.no_grad()
def forecast_contexts(
    network: nn.Module, x: Float[Tensor, "windows context channels"]
) -> Float[Tensor, "windows horizon channels"]:
    """Forecasts of many windows, on the CPU."""
    network.eval()
    return torch.cat([network(part) for part in x.split(SCORED_BATCH)])


@torch.no_grad()
def score(
    network: nn.Module, windows: Windows, device: torch.device | str = "cpu"
) -> ForecastErrors:
    """Errors over every window, none dropped."""
    network.eval().to(device)
    errors = ForecastErrors.zeros(windows.horizon, windows.num_channels)
    for x, y in windows.batches(SCORED_BATCH):
        assert isinstance(x, Tensor)  # wide tables have no further columns
        errors.update(y, network(x.to(device)))
    return errors


def _as_is(batch: Any) -> Any:
    return batch
