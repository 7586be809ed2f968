"""Which anchors S2IP puts before a series, and which words they are near.

Anchors are mixtures of words: the nearest ones by cosine are a hint, not a meaning. The mean word
dominates raw cosines, so that words are also given after removing it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from forecasting.anchors import nearest_words
from forecasting.data.panel import Panel, read_panel
from forecasting.panel_data import PanelTable
from forecasting.retrieval import anchor_cosines
from forecasting.s2ip import S2IP
from forecasting.vocabulary import Vocabulary
from foretell.errors import UserError

if TYPE_CHECKING:
    from forecasting.forecaster import Forecaster

BATCH = 256
"""Windows that are looked at together."""
SEPARATOR = " | "


def explain(
    forecaster: "Forecaster", df: pd.DataFrame | None = None, *, words: int = 5
) -> pd.DataFrame:
    """The anchors of every series' last window.

    Args:
        forecaster: Fitted, with s2ip among its models.
        df: Long, series seen in `fit` or not; none = those of `fit`.
        words: Nearest words of an anchor.

    Returns:
        A row a series and rank, series times K in all: the series, `rank` from 1, `anchor` (its
        number), `cosine`, `words` and `words_centred` (nearest first, the latter after removing the
        mean word) and `usage`, the share of the series that have this anchor among their K.

    Raises:
        UserError: No s2ip among the models or one without anchors, broken or too short series.
    """
    if words < 1:
        raise UserError(f"words must be at least 1, got {words}")
    network = explained_network(forecaster)
    panel, contexts = last_contexts(forecaster, df)
    found = [network.retrieved(part) for part in contexts.split(BATCH)]
    anchors = torch.cat([one.anchors for one in found])
    distinct, place, counts = anchors.unique(return_inverse=True, return_counts=True)
    texts = word_table(forecaster, distinct, words)
    rows = texts.iloc[place.flatten().numpy()].reset_index(drop=True)
    count = anchors.shape[1]
    return pd.DataFrame({
        panel.layout.id: np.repeat(panel.ids, count),
        "rank": np.tile(np.arange(1, count + 1), len(panel)),
        "anchor": anchors.flatten().numpy(),
        "cosine": torch.cat([one.cosine for one in found]).flatten().double().numpy(),
        "words": rows["words"], "words_centred": rows["words_centred"],
        "usage": (counts / len(panel))[place].flatten().double().numpy(),
    })  # fmt: skip


def explained_network(forecaster: "Forecaster") -> S2IP:
    """The fit's S2IP.

    Raises:
        UserError: Before `fit`; there is none, or it retrieves no anchors.
    """
    network = forecaster.models.get("s2ip")
    if not isinstance(network, S2IP):
        listed = ", ".join(forecaster.models)
        raise UserError(f"anchors are explained of s2ip alone; the fit has {listed}")
    if network.anchors is None:
        raise UserError("this s2ip has no anchors to explain: it was fitted with retrieved 0")
    return network


def last_contexts(
    forecaster: "Forecaster", df: pd.DataFrame | None
) -> tuple[Panel, Float[Tensor, "series context 1"]]:
    """Series, and what a forecast of each sees, scaled.

    Raises:
        UserError: Series shorter than the context.
    """
    panel, table = _inputs(forecaster, df)
    stops = panel.starts[1:]
    forecaster._check_lengths(panel, stops)
    length = forecaster.config.context
    return panel, table.inputs(stops, np.arange(len(panel)), length, 0)


def word_table(
    forecaster: "Forecaster", anchors: Int[Tensor, " anchors"], words: int
) -> pd.DataFrame:
    """Nearest words of some anchors, in their order: `words` and `words_centred`."""
    network = explained_network(forecaster)
    assert network.anchors is not None
    vocabulary = Vocabulary(forecaster.config.networks.s2ip.backbone.model)
    with torch.no_grad():
        rows = network.anchors()[anchors]
    table = {}
    for name, centred in (("words", False), ("words_centred", True)):
        found = nearest_words(rows, network.anchors.words, words, centred=centred)
        table[name] = [SEPARATOR.join(map(vocabulary.word, ids)) for ids in found.tolist()]
    return pd.DataFrame(table)


@dataclass(frozen=True)
class CosineTrack:
    """Cosines of one series' windows with the anchors that any of them retrieves."""

    series: str
    ends: pd.DatetimeIndex
    """Last stamps of the windows."""
    anchors: Int[Tensor, " anchors"]
    """Their numbers, the most often retrieved first."""
    cosine: Float[Tensor, "windows anchors"]
    chosen: Int[Tensor, "windows retrieved"]
    """Places in `anchors`, the most similar first."""


def cosine_track(
    forecaster: "Forecaster", df: pd.DataFrame | None, *, series: str = "", stride: int = 1
) -> CosineTrack:
    """Windows sliding over one series.

    Args:
        forecaster: Fitted, with s2ip among its models.
        df: Long; none = the rows of `fit`, of which a loaded forecaster has one context alone.
        series: Which; empty = the first.
        stride: Steps between two windows, counted back from the last one.

    Raises:
        UserError: No such series, fewer rows than a context, a stride below 1.
    """
    if stride < 1:
        raise UserError(f"stride must be at least 1, got {stride}")
    network = explained_network(forecaster)
    assert network.anchors is not None
    panel, table = _inputs(forecaster, df)
    names = [str(name) for name in panel.ids]
    if series and series not in names:
        raise UserError(f"no series {series}; the first are {', '.join(names[:5])}")
    place = names.index(series) if series else 0
    rows = slice(panel.starts[place], panel.starts[place + 1])
    values = table.values[int(rows.start) : int(rows.stop)]
    length = forecaster.config.context
    if len(values) < length:
        raise UserError(f"series {names[place]} has {len(values)} rows, a context is {length}")
    windows = values.unfold(0, length, 1).flip(0)[::stride].flip(0)[..., None]
    prompts = [network.prompt(part) for part in windows.split(BATCH)]
    retrieved = torch.cat([one.retrieved.anchors for one in prompts])
    distinct, counts = retrieved.unique(return_counts=True)
    anchors = distinct[counts.argsort(descending=True, stable=True)]
    with torch.no_grad():
        kept = network.anchors()[anchors]
    query = network.config.query
    cosine = torch.cat([anchor_cosines(one.tokens, kept, query=query) for one in prompts])
    chosen = (retrieved[..., None] == anchors).int().argmax(-1)
    ends = panel.stamps[rows][length - 1 :][::-1][::stride][::-1]
    return CosineTrack(names[place], ends, anchors, cosine, chosen)


@dataclass(frozen=True)
class PointClouds:
    """Points of one space: what the language model is given, and its words' anchors."""

    anchors: Float[Tensor, "anchors dim"]
    used: Bool[Tensor, " anchors"]
    """Whether any of the windows retrieves it."""
    tokens: Float[Tensor, "series dim"]
    """Mean token of each window."""
    prefixed: Float[Tensor, "series dim"]
    """Mean of each window's anchors and tokens together."""


def point_clouds(
    forecaster: "Forecaster", df: pd.DataFrame | None = None, *, most: int = 500
) -> PointClouds:
    """Anchors, tokens and prefixed tokens (paper, figures 4 to 6).

    Windows are the last ones of the series, and earlier ones of each, a horizon apart, where the
    series go back so far.

    Args:
        forecaster: Fitted, with s2ip among its models.
        df: Long; none = the rows of `fit`, of which a loaded forecaster has one context alone.
        most: Windows, and anchors that none of them retrieves, at most; taken evenly.

    Raises:
        UserError: No series as long as a context.
    """
    network = explained_network(forecaster)
    assert network.anchors is not None
    panel, table = _inputs(forecaster, df)
    length, step = forecaster.config.context, forecaster.config.horizon
    stops = np.concatenate([
        np.arange(stop, start + length - 1, -step)
        for start, stop in zip(panel.starts[:-1], panel.starts[1:], strict=True)
    ])  # fmt: skip
    if not len(stops):
        raise UserError(f"no series has the {length} rows of a context")
    rows = torch.from_numpy(stops[_evenly(len(stops), most), None] + np.arange(-length, 0))
    prompts = [network.prompt(table.values[part][..., None]) for part in rows.split(BATCH)]
    anchors = network.anchors().detach()
    used = torch.zeros(len(anchors), dtype=torch.bool)
    used[torch.cat([one.retrieved.anchors for one in prompts]).flatten()] = True
    others = (~used).nonzero()[:, 0]
    kept = torch.cat([used.nonzero()[:, 0], others[_evenly(len(others), most)]])
    return PointClouds(
        anchors[kept],
        used[kept],
        torch.cat([one.tokens.mean(1) for one in prompts]),
        torch.cat([one.sequence.mean(1) for one in prompts]),
    )


def _evenly(count: int, most: int) -> np.ndarray:
    places: np.ndarray = np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)
    return places


def _inputs(forecaster: "Forecaster", df: pd.DataFrame | None) -> tuple[Panel, PanelTable]:
    """Series and their scaled values as `predict` takes them."""
    fitted, config = forecaster.fitted, forecaster.config
    assert fitted is not None
    if df is None:
        return fitted.panel, PanelTable(fitted.panel, fitted.scale)
    panel = read_panel(df, forecaster.layout(df), config.freq, fill=config.fill)
    return panel, PanelTable(panel, fitted.scale_of(panel))
