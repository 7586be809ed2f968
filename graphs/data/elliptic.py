"""Bitcoin transactions of the Elliptic data set: a class for nodes of one step each.

Layout of the released code of EvolveGCN: `elliptic_txs_features.csv` (no header; id, time step,
features), `elliptic_txs_classes.csv` (txId, class: 1 illicit, 0 licit, -1 unknown),
`elliptic_txs_nodetime.csv` (txId, timestep from 0), `elliptic_txs_edgelist_timed.csv` (txId1,
txId2, timestep). Layout of Kaggle: the same features, `elliptic_txs_classes.csv` with 1 illicit, 2
licit, unknown, and `elliptic_txs_edgelist.csv` (txId1, txId2); steps from 1 in the features. Any
number of features is read (published: 165 beside the time step), every file plain or .gz.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from numpy import ndarray
from torch import Tensor

from foretell.errors import UserError
from graphs.data.edge_labels import UNKNOWN
from graphs.data.events import EdgeEvents
from graphs.data.node_ids import find_nodes
from graphs.data.text_table import Kind, TextTable, read_text_table, text_records

FEATURES = "elliptic_txs_features.csv"
CLASSES = "elliptic_txs_classes.csv"
NODE_TIMES = "elliptic_txs_nodetime.csv"
TIMED_EDGES = "elliptic_txs_edgelist_timed.csv"
EDGES = "elliptic_txs_edgelist.csv"
CLASS_NAMES = ("licit", "illicit")


@dataclass(frozen=True)
class NodeTable:
    """Features, step and class of every node."""

    x: Float[Tensor, "nodes features"]
    step: Int[Tensor, " nodes"]
    """The one step at which the node exists."""
    label: Int[Tensor, " nodes"]

    @property
    def num_steps(self) -> int:
        """Until the last node."""
        return int(self.step.max()) + 1

    def fields(self, step: int) -> Mapping[str, Tensor]:
        """Of a snapshot: features of all nodes (one tensor for all steps), labels of its own."""
        here = self.step == step
        label = torch.where(here, self.label, UNKNOWN)
        return {"x": self.x, "present": here, "node_label": label}


def read_elliptic(folder: Path, *, drop_time_column: bool = False) -> tuple[EdgeEvents, NodeTable]:
    """Edges and nodes, in the order of the features file.

    Args:
        folder: Holds the files of one of the layouts.
        drop_time_column: Leave out the feature that is the number of the step; the released code
            keeps it.

    Raises:
        UserError: A file is missing, a row does not fit, or a transaction is in one file alone.
    """
    ids, times, x = _read_features(_find(folder, FEATURES))
    label = _read_classes(_find(folder, CLASSES), ids)
    timed = any(folder.glob(f"{TIMED_EDGES}*"))
    if timed:
        node_step = _node_steps(_find(folder, NODE_TIMES), ids)
        edge_table = _read_edges(_find(folder, TIMED_EDGES), ("txId1", "txId2", "timestep"))
        source, target = (_nodes(edge_table, name, ids) for name in ("txId1", "txId2"))
        step = edge_table["timestep"]
        if (step < 0).any():
            row = int((step < 0).argmax())
            raise edge_table.fail(row, "timestep must not be negative; correct the line")
    else:
        node_step = times - 1
        if node_step.min() < 0:
            number = ids[node_step.argmin()]
            raise UserError(f"{folder / FEATURES}: transaction {number}: time steps begin at 1")
        edge_table = _read_edges(_find(folder, EDGES, TIMED_EDGES), ("txId1", "txId2"))
        source, target = (_nodes(edge_table, name, ids) for name in ("txId1", "txId2"))
        step = np.maximum(node_step[source], node_step[target])
    events = EdgeEvents(
        name=folder.name,
        source=source,
        target=target,
        node_ids=ids,
        step=step,
        class_names=CLASS_NAMES,
    )
    features = x[:, 1:] if drop_time_column else x
    nodes = NodeTable(
        torch.from_numpy(np.ascontiguousarray(features)),
        torch.from_numpy(node_step),
        torch.from_numpy(label),
    )
    return events, nodes


def _find(folder: Path, *names: str) -> Path:
    for name in names:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file():
                return path
    raise UserError(
        f"{folder} holds no {' nor '.join(names)}; put the csv files of the Elliptic data set there"
    )


def _read_features(
    path: Path,
) -> tuple[Int64[ndarray, " nodes"], Int64[ndarray, " nodes"], Float[ndarray, "nodes columns"]]:
    first = next(text_records(path, ","), (0, []))[1]
    header = bool(first) and any(letter.isalpha() for letter in first[0])
    kinds: dict[str, Kind] = {"txId": "integer", "time step": "integer"}
    kinds |= {f"feature {place}": "number" for place in range(1, len(first) - 1)}
    table = read_text_table(path, kinds, header_lines=int(header))
    ids = table["txId"]
    distinct, where = np.unique(ids, return_index=True)
    if len(distinct) < len(ids):
        again = int(np.setdiff1d(np.arange(len(ids)), where)[0])
        raise table.fail(again, f"transaction {ids[again]} stands there twice; remove one line")
    names = [name for name in kinds if name != "txId"]
    x = np.empty((len(ids), len(names)), np.float32)
    for place, name in enumerate(names):
        x[:, place] = table[name]
    return ids, table["time step"], x


def _read_classes(path: Path, ids: Int64[ndarray, " nodes"]) -> Int64[ndarray, " nodes"]:
    table = read_text_table(path, {"txId": "integer", "class": "text"}, header_lines=1)
    kaggle = bool((table["class"] == "2").any())
    meaning = {"1": 1, "2": 0, "unknown": UNKNOWN}
    if not kaggle:
        meaning = {"1": 1, "0": 0, "unknown": UNKNOWN, "-1": UNKNOWN}
    found, codes = np.unique(table["class"].astype(str), return_inverse=True)
    for number, text in enumerate(found):
        if str(text) not in meaning:
            raise table.fail(
                int((codes == number).argmax()),
                f"class {str(text)!r} is none of {', '.join(meaning)}; correct the line",
            )
    label = np.full(len(ids), UNKNOWN, np.int64)
    classes = np.array([meaning[str(text)] for text in found])
    label[_nodes(table, "txId", ids)] = classes[codes]
    return label


def _node_steps(path: Path, ids: Int64[ndarray, " nodes"]) -> Int64[ndarray, " nodes"]:
    table = read_text_table(path, {"txId": "integer", "timestep": "integer"}, header_lines=1)
    step = np.full(len(ids), -1, np.int64)
    if (table["timestep"] < 0).any():
        row = int((table["timestep"] < 0).argmax())
        raise table.fail(row, "timestep must not be negative; correct the line")
    step[_nodes(table, "txId", ids)] = table["timestep"]
    if (step < 0).any():
        raise UserError(f"{path} lacks transaction {ids[(step < 0).argmax()]} of {FEATURES}")
    return step


def _read_edges(path: Path, names: tuple[str, ...]) -> TextTable:
    kinds: dict[str, Kind] = dict.fromkeys(names, "integer")
    return read_text_table(path, kinds, header_lines=1)


def _nodes(table: TextTable, name: str, ids: Int64[ndarray, " nodes"]) -> Int64[ndarray, " rows"]:
    found = find_nodes(table[name], ids)
    if (missing := found < 0).any():
        row = int(missing.argmax())
        raise table.fail(
            row,
            f"transaction {table[name][row]} is not in {FEATURES}; use the files of one release",
        )
    return found
