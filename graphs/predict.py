"""`foretell graphs predict`: what a saved model says of the step after the last one."""

import io
import logging

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from foretell.config import RunOptions
from foretell.run import RunDirectory, atomic_write
from graphs.class_walk import TrainedClasses, TrainedValues
from graphs.config import PredictConfig
from graphs.data.readers import read_graph
from graphs.data.snapshots import Snapshot, SnapshotSequence
from graphs.evaluate import load
from graphs.inputs import InputBuilder
from graphs.network import GraphNetwork
from graphs.problem import check_fits
from graphs.walk import TrainedLinks

_log = logging.getLogger(__name__)

ENDS = ("source", "target")
BLOCK_ROWS = 256
"""Sources scored at a time."""


def run(config: PredictConfig, options: RunOptions) -> None:
    """Write predictions.csv.

    Links: the likeliest pairs of the step that is not in the data. Classes and numbers: of every
    edge or node of the last step; a known label is written beside, and is not looked at.

    Raises:
        UserError: No model, missing or broken data, data that the model cannot read.
    """
    _, network = load(config.model)
    torch.set_num_threads(config.threads)
    sequence = read_graph(config.data)
    check_fits(network.config, sequence, config.model)
    run_directory = RunDirectory.create("graphs-predict", config, options)
    match network.config.task:
        case "link":
            table = next_links(network, sequence, top=config.top, known=config.known)
        case "regression":
            table = last_values(network, sequence)
        case _:
            table = last_classes(network, sequence)
    text = io.StringIO()
    table.to_csv(text, index=False)
    path = run_directory.path / "predictions.csv"
    atomic_write(path, text.getvalue())
    _log.info("%d rows in %s; the first:\n%s", len(table), path, table.head(5).to_string())


def next_links(
    network: GraphNetwork, sequence: SnapshotSequence, *, top: int = 100, known: bool = True
) -> pd.DataFrame:
    """The likeliest pairs of the step after the last, self-pairs left out.

    Args:
        network: Of the task link.
        sequence: All steps so far.
        top: Pairs to return.
        known: Whether pairs that met before may be among them.

    Returns:
        Columns source, target (as the data name nodes), score (logit of a link minus logit of
        none: an order, no probability, since training sees chosen negatives) and met_before.
    """
    nodes = sequence.num_nodes
    predictor = TrainedLinks(network, InputBuilder(network.config), nodes)
    for snapshot in sequence:
        predictor.update(snapshot)
    met = torch.unique(torch.cat([snapshot.pair_keys for snapshot in sequence]))
    best, keys = torch.empty(0), torch.empty(0, dtype=torch.int64)
    for start in range(0, nodes, BLOCK_ROWS):
        stop = min(start + BLOCK_ROWS, nodes)
        scores = predictor.rows(start, stop)
        own = torch.arange(stop - start)
        scores[own, own + start] = -torch.inf
        if not known:
            first, last = torch.searchsorted(met, torch.tensor([start, stop]) * nodes).tolist()
            scores.view(-1)[met[first:last] - start * nodes] = -torch.inf
        values, places = scores.flatten().topk(min(top, scores.numel()))
        best, keys = _best(
            torch.cat([best, values]), torch.cat([keys, places + start * nodes]), top
        )
    kept = best > -torch.inf
    keys, best = keys[kept], best[kept]
    return pd.DataFrame(
        {
            "source": sequence.node_ids[(keys // nodes).numpy()],
            "target": sequence.node_ids[(keys % nodes).numpy()],
            "score": best.numpy(),
            "met_before": torch.isin(keys, met).numpy(),
        }
    )


def last_classes(network: GraphNetwork, sequence: SnapshotSequence) -> pd.DataFrame:
    """Class shares of every edge, or every node, of the last step; -1 = label unknown."""
    predictor = TrainedClasses(network, InputBuilder(network.config), sequence.num_nodes)
    last = _before_last(predictor, sequence)
    with torch.no_grad():
        shares = predictor.logits(last).softmax(1).numpy()
    ids, edges = sequence.node_ids, network.config.task == "edge"
    columns: dict[str, np.ndarray] = {"node": ids}
    if edges:
        columns = {name: ids[row.numpy()] for name, row in zip(ENDS, last.edge_index, strict=True)}
    columns["label"] = _known(last.edge_label if edges else last.node_label, len(shares))
    return pd.DataFrame(columns | {f"p_{k}": shares[:, k] for k in range(shares.shape[1])})


def last_values(network: GraphNetwork, sequence: SnapshotSequence) -> pd.DataFrame:
    """Forecast of every node's number at the last step."""
    predictor = TrainedValues(network, InputBuilder(network.config), sequence.num_nodes)
    last = _before_last(predictor, sequence)
    with torch.no_grad():
        forecast = predictor.values(last).numpy()
    value = np.full(len(forecast), np.nan) if last.value is None else last.value.numpy()
    return pd.DataFrame({"node": sequence.node_ids, "forecast": forecast, "value": value})


def _before_last(predictor: TrainedClasses | TrainedValues, sequence: SnapshotSequence) -> Snapshot:
    """Take in all steps but the last, which is returned."""
    for snapshot in sequence.snapshots[:-1]:
        predictor.update(snapshot)
    return sequence[-1]


def _best(scores: Tensor, keys: Tensor, top: int) -> tuple[Tensor, Tensor]:
    values, order = scores.topk(min(top, len(scores)))
    return values, keys[order]


def _known(labels: Tensor | None, count: int) -> np.ndarray:
    return np.full(count, -1) if labels is None else labels.numpy()
