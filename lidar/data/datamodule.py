"""Lightning's view of the data: which windows, in which order, in which batches."""

from typing import TYPE_CHECKING, Any

import lightning

from foretell.loader import EpochSampler, ResumableLoader
from lidar.config import PretrainConfig, forecast_horizons_s
from lidar.data.batch import WindowBatch, collate_windows
from lidar.data.evaluation_window import EvaluationWindow, evaluation_window
from lidar.data.features import feature_columns
from lidar.data.index import open_dataset
from lidar.data.window_dataset import WindowDataset, check_supervision, voxel_grid
from lidar.data.windows import windows_of

if TYPE_CHECKING:
    import torch

    from lidar.data.dataset import Dataset

__all__ = [
    "EvaluationWindow",
    "PretrainDataModule",
    "WindowDataset",
    "evaluation_window",
    "feature_columns",
]


class PretrainDataModule(lightning.LightningDataModule):
    """Windows for pretraining; labels are out of reach.

    Every draw of a sample is keyed by (seed, epoch, index), so several processes see together what
    one process with the joint batch would see.
    """

    def __init__(self, config: PretrainConfig, *, seed: int = 0) -> None:
        super().__init__()
        self.config, self.seed = config, seed
        self.dataset: Dataset | None = None
        self.train: WindowDataset | None = None
        self.val: WindowDataset | None = None

    def prepare_data(self) -> None:
        """Write the index if there is none (one process a machine)."""
        open_dataset(self.config.data)

    def setup(self, stage: str) -> None:
        """Find the windows; a second call changes nothing.

        Raises:
            UserError: Missing data, an unknown split, no window, a wrong voxel size, or a volume
                without a return.
        """
        if self.train is not None:
            return
        voxel_grid(self.config)
        data = self.config.data
        self.dataset = open_dataset(data)
        self.train = self._windows(data.splits, training=True)
        check_supervision(self.train)
        if data.val_splits:
            self.val = self._windows(data.val_splits, training=False)

    @property
    def feature_columns(self) -> list[str]:
        """Columns of the encoder's input."""
        assert self.dataset is not None, "call setup first"
        return feature_columns(self.config.data, self.dataset.sensor)

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled windows of this process."""
        assert self.train is not None, "call setup first"
        return self._loader(self.train, shuffle=True)

    def val_dataloader(self) -> ResumableLoader | list[Any]:
        """Validation windows in order; an empty list where none are configured."""
        return [] if self.val is None else self._loader(self.val, shuffle=False)

    def transfer_batch_to_device(
        self, batch: WindowBatch, device: "torch.device", dataloader_idx: int
    ) -> WindowBatch:
        """Move a batch."""
        return batch.to(device)

    def _windows(self, selectors: list[str], *, training: bool) -> WindowDataset:
        assert self.dataset is not None
        logs = self.dataset.select(selectors, labels=False)
        horizons_s = forecast_horizons_s(self.config)
        left_out = self.dataset.left_out
        windows = windows_of(logs, self.config.data, horizons_s, left_out=left_out)
        return WindowDataset(windows, self.config, training=training, seed=self.seed)

    def _loader(self, dataset: WindowDataset, *, shuffle: bool) -> ResumableLoader:
        trainer = self.trainer
        sampler = EpochSampler(
            len(dataset),
            self.config.data.batch_size,
            shuffle=shuffle,
            seed=self.seed,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
        )
        return ResumableLoader(
            dataset,
            sampler,
            num_workers=self.config.data.num_workers,
            collate_fn=collate_windows,
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
        )
