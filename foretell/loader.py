"""Data loading that can stop anywhere and go on exactly where it stopped.

Every sample is asked for by the key `(epoch, index)`, so that its random draws depend on the seed,
the epoch and the index alone: never on the worker, the rank or how often the run was interrupted.
"""

from collections.abc import Iterator
from itertools import repeat
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from foretell.errors import UserError


class EpochSampler(Sampler[tuple[int, int]]):
    """Keys `(epoch, index)` of one process, reshuffled each epoch from (seed, epoch).

    Args:
        num_samples: Size of the data set.
        batch_size: Samples per process and step; an incomplete last global batch is dropped,
            unless it is the only one: then samples repeat until it is full.
        shuffle: Permute each epoch.
        seed: Of the permutation.
        rank: This process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if num_samples < 1:
            raise ValueError("EpochSampler needs at least one sample, got num_samples=0")
        self.num_samples, self.batch_size, self.shuffle = num_samples, batch_size, shuffle
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch = 0
        self.first_batch = 0

    @property
    def num_batches(self) -> int:
        """Batches per process and epoch."""
        return max(1, self.num_samples // (self.batch_size * self.world_size))

    def set_epoch(self, epoch: int) -> None:
        """Start at the beginning of an epoch."""
        self.epoch, self.first_batch = epoch, 0

    def order(self, epoch: int) -> list[int]:
        """All processes' sample order in an epoch, one global batch after the other."""
        if self.shuffle:
            generator = torch.Generator().manual_seed((self.seed * 1_000_003 + epoch) % 2**63)
            order = torch.randperm(self.num_samples, generator=generator).tolist()
        else:
            order = list(range(self.num_samples))
        needed = self.num_batches * self.batch_size * self.world_size
        while len(order) < needed:
            order += order[: needed - len(order)]
        return order[:needed]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        own = self.order(self.epoch)[self.rank :: self.world_size]
        yield from zip(repeat(self.epoch), own[self.first_batch * self.batch_size :], strict=False)

    def __len__(self) -> int:
        return self.num_batches * self.batch_size


class ResumableLoader(DataLoader[Any]):
    """A `DataLoader` over `(epoch, index)` keys whose position is part of the checkpoint.

    Lightning stores `state_dict()` with the training loops and gives it back before the first
    batch after a restart; the next batch is then the one the stopped run would have seen.
    `batches_per_epoch` is where an epoch ends: all batches, unless the trainer is told to stop
    earlier (`limit_train_batches`; the trainer's callback sets it).
    """

    def __init__(self, dataset: Any, sampler: EpochSampler, **options: Any) -> None:
        super().__init__(dataset, batch_size=sampler.batch_size, sampler=sampler, **options)
        self.epoch_sampler = sampler
        self.batches_per_epoch = sampler.num_batches
        self._yielded = 0
        self._resume_epoch: int | None = None

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        # A generator: runs at the first batch, after the trainer has called sampler.set_epoch.
        sampler = self.epoch_sampler
        if self._resume_epoch is None:
            self._yielded = 0
        elif self._yielded >= self.batches_per_epoch:
            sampler.epoch, self._yielded = self._resume_epoch + 1, 0
        else:
            sampler.epoch = self._resume_epoch
        self._resume_epoch = None
        sampler.first_batch = self._yielded
        try:
            for batch in super().__iter__():
                self._yielded += 1
                yield batch
        except UserError as error:
            # From a worker it comes with the worker's traceback before the message.
            message = str(error).rpartition(f"{UserError.__module__}.{UserError.__name__}: ")[2]
            raise UserError(message) from None

    def state_dict(self) -> dict[str, int]:
        """Epoch and number of batches handed out in it."""
        return {"epoch": self.epoch_sampler.epoch, "batches": self._yielded}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the batches of `state`."""
        self._resume_epoch, self._yielded = state["epoch"], state["batches"]
