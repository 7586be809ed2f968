"""The series benchmark without language models: loader, many series, backtest, ridge.

Part of forecast_bench.py, which runs it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import timing

timing.one_thread()

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import torch  # noqa: E402
from page import RATIO, Page  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402

from forecasting.baselines.ridge import FIXED_PENALTY, Ridge  # noqa: E402
from forecasting.data.windows import Windows  # noqa: E402
from forecasting.forecaster import Forecaster  # noqa: E402
from forecasting.forecaster_config import ForecasterConfig  # noqa: E402
from foretell.loader import EpochSampler, ResumableLoader  # noqa: E402

LOADER_AIM, PREDICT_AIM, BACKTEST_AIM, RIDGE_AIM = 10.0, 20.0, 10.0, 3.0
BATCH, LABEL_ROWS, TIME_MARKS = 128, 48, 4
FIT_ROWS = 400


@dataclass(frozen=True)
class Sizes:
    """Of what is made up."""

    context: int = 512
    """Of loader and ridge."""
    horizon: int = 96
    series: int = 10_000
    looped: int = 1000
    """Series of the loop, from which the time of all is computed."""
    backtest_series: int = 100
    backtest_rows: int = 2000
    cutoffs: int = 50


SMALL = Sizes(context=32, horizon=8, series=60, looped=20, backtest_series=3, backtest_rows=400,
              cutoffs=4)  # fmt: skip
PANEL = ForecasterConfig(models=["ridge"], context=96, horizon=24, freq="h", season=24)


class Items(Dataset[tuple[np.ndarray, ...]]):
    """Windows one by one, float64 slices that the loader stacks.

    Args:
        values: [rows, channels].
        context: L.
        horizon: H.
        label: Rows before the target that go with it.
        marks: Whether four numbers a row that tell the time go with context and target.
    """

    def __init__(
        self, values: np.ndarray, context: int, horizon: int, *, label: int = 0, marks: bool = False
    ) -> None:
        self.tables = [values, np.zeros((len(values), TIME_MARKS))] if marks else [values]
        self.context, self.horizon, self.label = context, horizon, label

    def __len__(self) -> int:
        return len(self.tables[0]) - self.context - self.horizon + 1

    def __getitem__(self, place: int) -> tuple[np.ndarray, ...]:
        now = place + self.context
        cuts = (slice(place, now), slice(now - self.label, now + self.horizon))
        return tuple(table[cut] for table in self.tables for cut in cuts)


def measure_loader(page: Page, sizes: Sizes, values: np.ndarray, turns: int, *, aims: bool) -> None:
    """An epoch of shuffled training windows."""
    page.section(
        "Windows of an epoch",
        f"All training windows once, shuffled, in batches of {BATCH}, float32 in the end. The peer "
        "is a Dataset of float64 rows, torch's DataLoader and its default collate in this process. "
        "Released loaders also hand out label rows and time marks. Equal values, in order.",
        RATIO,
    )
    narrow = (PANEL.context, PANEL.horizon)
    long = (sizes.context, sizes.horizon)
    released = {"label": min(LABEL_ROWS, sizes.context), "marks": True}
    for (context, horizon), table, options, name in (
        (long, values, {}, "x and y"),
        (long, values, released, "as released loaders"),
        (narrow, values[:, :1], {}, "x and y"),
    ):
        items = Items(table, context, horizon, **options)
        rows = torch.from_numpy(table).float()
        windows = Windows(rows, range(context, len(rows) - horizon + 1), context, horizon)
        _check_loader(items, windows)
        both: dict[str, Callable[[], None]] = {
            "peer": partial(_peer_epoch, items), "ours": partial(_own_epoch, windows)
        }  # fmt: skip
        taken = timing.take_turns(
            {who: partial(timing.timed, run) for who, run in both.items()}, turns
        )
        label = f"{len(windows):,} windows of {context} + {horizon}, {table.shape[1]} channels"
        page.ratio(f"{label}, {name}", taken, aim=LOADER_AIM if aims else None)


def measure_predict(page: Page, sizes: Sizes, turns: int, *, aims: bool) -> None:
    """`Forecaster.predict` of many series against a loop over them."""
    fitted = Forecaster(PANEL).fit(waves(20, FIT_ROWS))
    frame = waves(sizes.series, PANEL.context + PANEL.horizon)
    alone = [own for _, own in frame.groupby("unique_id")][: sizes.looped]
    whole = fitted.predict(frame)["ridge"].to_numpy()
    looped = np.concatenate([fitted.predict(own)["ridge"].to_numpy() for own in alone])
    apart = timing.held(np.abs(whole[: len(looped)] - looped).max(), 1e-4)
    taken = timing.take_turns(
        {
            "peer": partial(timing.timed, lambda: [fitted.predict(own) for own in alone]),
            "ours": partial(timing.timed, lambda: fitted.predict(frame)),
        },
        turns,
    )
    page.section(
        "Many series",
        f"Forecaster.predict of {sizes.series:,} series of {PANEL.context + PANEL.horizon} rows, "
        f"ridge {PANEL.context} -> {PANEL.horizon}, frame in, frame out. The peer calls it series "
        f"by series, {sizes.looped:,} of them, scaled. Largest difference {apart}.",
        RATIO,
    )
    page.ratio(
        f"{sizes.series:,} series", taken, aim=PREDICT_AIM if aims else None,
        scale=sizes.series / sizes.looped,
    )  # fmt: skip


def measure_backtest(page: Page, sizes: Sizes, turns: int, *, aims: bool) -> None:
    """`Forecaster.cross_validation` against a call of predict a cutoff; both fit once."""
    frame = waves(sizes.backtest_series, sizes.backtest_rows)
    times = frame["ds"].unique()
    lasts = [len(times) - PANEL.horizon * (1 + back) - 1 for back in range(sizes.cutoffs)][::-1]
    cut = {times[last]: frame[frame["ds"] <= times[last]] for last in lasts}

    def theirs() -> pd.DataFrame:
        fitted = Forecaster(PANEL).fit(next(iter(cut.values())))
        return pd.concat([fitted.predict(known).assign(cutoff=at) for at, known in cut.items()])

    def ours() -> pd.DataFrame:
        return Forecaster(PANEL).cross_validation(frame, n_windows=sizes.cutoffs)

    keys = ["unique_id", "cutoff", "ds"]
    both = ours().merge(theirs(), on=keys, suffixes=("", "_alone"))
    rows = sizes.backtest_series * sizes.cutoffs * PANEL.horizon
    if len(both) != rows:
        raise AssertionError(f"{len(both)} of {rows} rows are in both backtests")
    apart = timing.held(np.abs(both["ridge"] - both["ridge_alone"]).max(), 1e-4)
    taken = timing.take_turns(
        {"peer": partial(timing.timed, theirs), "ours": partial(timing.timed, ours)}, turns
    )
    page.section(
        "Backtest",
        f"cross_validation of {sizes.backtest_series} series of {sizes.backtest_rows:,} rows, "
        f"{sizes.cutoffs} cutoffs {PANEL.horizon} steps apart, no refit, ridge {PANEL.context} -> "
        f"{PANEL.horizon}. The peer fits once and calls predict a cutoff, on frames that are cut "
        f"beforehand, and has no truth beside its forecasts. Largest difference {apart}.",
        RATIO,
    )
    page.ratio(f"{sizes.cutoffs} cutoffs", taken, aim=BACKTEST_AIM if aims else None)


def measure_ridge(
    page: Page, sizes: Sizes, values: np.ndarray, name: str, turns: int, *, aims: bool
) -> None:
    """The closed form from the Gram matrix against stacked windows and least squares."""
    theirs = stacked_ridge(values, sizes.context, sizes.horizon)
    ours = Ridge(sizes.context, sizes.horizon).fit(values).weight.numpy()
    apart = timing.held(np.abs(theirs - ours).max(), 1e-5)
    taken = timing.take_turns(
        {
            "peer": partial(
                timing.timed, lambda: stacked_ridge(values, sizes.context, sizes.horizon)
            ),
            "ours": partial(timing.timed, lambda: Ridge(sizes.context, sizes.horizon).fit(values)),
        },
        turns,
    )
    page.section(
        "Ridge",
        f"One map {sizes.context} -> {sizes.horizon} of all channels of {name}, {len(values):,} "
        f"training rows, penalty {FIXED_PENALTY:g}, float64. The peer stacks all windows and "
        f"solves by numpy.linalg.lstsq. Largest difference of a weight {apart}, of largest "
        f"{np.abs(theirs).max():.2f}.",
        RATIO,
    )
    page.ratio(f"{sizes.context} -> {sizes.horizon}", taken, aim=RIDGE_AIM if aims else None)


def stacked_ridge(values: np.ndarray, context: int, horizon: int) -> np.ndarray:
    """Weights [horizon, context] by least squares of the design matrix of all windows.

    The penalty stands below it as rows sqrt(p) I.
    """
    windows = np.lib.stride_tricks.sliding_window_view(values, context + horizon, axis=0)
    whole = windows.reshape(-1, context + horizon)
    whole = whole - whole[:, :context].mean(1, keepdims=True)
    x, y = whole[:, :context], whole[:, context:]
    lifted = FIXED_PENALTY * np.square(x).sum() / context
    design = np.concatenate([x, np.sqrt(lifted) * np.eye(context)])
    target = np.concatenate([y, np.zeros((context, horizon))])
    weights: np.ndarray = np.linalg.lstsq(design, target, rcond=None)[0].T
    return weights


def waves(series: int, rows: int) -> pd.DataFrame:
    """A long frame of noisy daily waves."""
    hours, random = np.arange(rows), np.random.default_rng(0)
    values = np.sin(2 * np.pi * hours / 24) + 0.3 * random.normal(size=(series, rows))
    stamps = pd.date_range("2024-01-01", periods=rows, freq="h")
    return pd.DataFrame({
        "unique_id": np.repeat(np.arange(series), rows), "ds": np.tile(stamps, series),
        "y": values.ravel(),
    })  # fmt: skip


def _peer_epoch(items: Items) -> None:
    for batch in DataLoader(items, batch_size=BATCH, shuffle=True, drop_last=True):
        _ = [part.float() for part in batch]


def _own_epoch(windows: Windows) -> None:
    for _ in ResumableLoader(windows, EpochSampler(len(windows), BATCH), collate_fn=_as_is):
        pass


def _check_loader(items: Items, windows: Windows) -> None:
    """Both in order.

    Raises:
        AssertionError: Other values.
    """
    sampler = EpochSampler(len(windows), BATCH, shuffle=False)
    ours = ResumableLoader(windows, sampler, collate_fn=_as_is)
    theirs = DataLoader(items, batch_size=BATCH, drop_last=True)
    for (x, y), batch in zip(ours, theirs, strict=True):
        label = batch[1][:, items.label :].float()
        if not (torch.equal(x, batch[0].float()) and torch.equal(y, label)):
            raise AssertionError("the loaders hand out other values")


def _as_is(batch: Any) -> Tensor | tuple[Tensor, ...]:
    whole: tuple[Tensor, ...] = batch
    return whole
