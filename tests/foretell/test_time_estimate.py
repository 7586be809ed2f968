"""The estimate is that of the second step times all steps."""

import logging
from types import SimpleNamespace

import pytest

from foretell import time_estimate
from foretell.time_estimate import TimeEstimate


def test_the_second_step_is_timed_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter([10.0, 10.5])
    monkeypatch.setattr(time_estimate.time, "perf_counter", lambda: next(clock))
    trainer = SimpleNamespace(is_global_zero=True, num_training_batches=40, max_epochs=10)
    callback = TimeEstimate("NLinear")
    with caplog.at_level(logging.INFO, logger="foretell.time_estimate"):
        for _ in range(2):
            for batch in range(3):
                callback.on_train_batch_start(trainer, None, None, batch)
                callback.on_train_batch_end(trainer, None, None, None, batch)
    assert caplog.messages == [
        "NLinear: 40 steps an epoch, about 20.0 s; at most 10 epochs, 3.3 min, and their validation"
    ]
