"""Random draws of a sample, keyed by (seed, epoch, sample index) and never by rank or worker."""

from dataclasses import dataclass

import numpy as np

AUGMENT, MASK, HORIZON, RAYS, RENDER, ACTION = range(6)
"""Purposes; each has its own stream, so that changing one draw moves no other."""


@dataclass(frozen=True)
class SampleKey:
    """What a sample's random draws depend on."""

    seed: int
    epoch: int
    index: int

    def generator(self, purpose: int, part: int = 0) -> np.random.Generator:
        """A NumPy generator for one purpose (and, for rays, one frame)."""
        return np.random.default_rng(self._sequence(purpose, part))

    def integer(self, purpose: int) -> int:
        """A 63-bit seed, for torch generators."""
        return int(self._sequence(purpose, 0).generate_state(1, np.uint64)[0] >> np.uint64(1))

    def _sequence(self, purpose: int, part: int) -> np.random.SeedSequence:
        return np.random.SeedSequence(
            (self.seed, self.epoch, self.index), spawn_key=(purpose, part)
        )
