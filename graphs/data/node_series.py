"""Graphs in JSON whose nodes have a number at every step, for node regression.

Twitter tennis: {"0": {"edges": [[u, v], ...], "weights": [...], "y": [N numbers], "X": [N][F]},
"1": ..., "time_periods": T, "node_ids": {name: number}}. England covid: {"edge_mapping":
{"edge_index": {"0": [[u, v], ...]}, "edge_weight": {"0": [...]}}, "y": [T][N], "time_periods": T}.
Keys are numbers as text and in any order: they are sorted as numbers. `null` in y is unknown.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor

from foretell.errors import UserError
from graphs.data.events import EdgeEvents
from graphs.data.text_table import not_utf8, open_text, truncated


@dataclass(frozen=True)
class NodeSeries:
    """Value and features of every node at every step."""

    value: Float[Tensor, "steps nodes"]
    x: Float[Tensor, "steps nodes features"] | None

    @property
    def num_steps(self) -> int:
        """T."""
        return len(self.value)

    def fields(self, step: int) -> Mapping[str, Tensor]:
        """Of a snapshot."""
        here = {"value": self.value[step]}
        return here if self.x is None else here | {"x": self.x[step]}


def read_node_series(path: Path) -> tuple[EdgeEvents, NodeSeries]:
    """Weighted edges of numbered steps, and the nodes' values.

    Raises:
        UserError: No JSON, a key that is missing, a step whose lists do not fit together.
    """
    content = _load(path)
    steps = _steps_of_mapping(path, content)
    if steps is None:
        steps = _steps_of_entries(path, content)
    if (promised := content.get("time_periods")) not in (None, len(steps)):
        raise UserError(
            f"{path} promises {promised} steps (time_periods) and holds {len(steps)}; copy it again"
        )
    num_nodes = len(steps[0]["y"])
    pairs, weights, values, features = [], [], [], []
    for number, step in enumerate(steps):
        place = f"{path}: step {number}"
        edges = _array(place, "edges", step["edges"] or np.empty((0, 2)))
        weight = _array(place, "weights", step["weights"])
        value = _array(place, "y", step["y"])
        if edges.ndim != 2 or edges.shape[1] != 2 or weight.shape != edges.shape[:1]:
            raise UserError(
                f"{place}: {list(weight.shape)} weights for edges {list(edges.shape)}, which must "
                "be [edges, 2]; correct the step"
            )
        if value.shape != (num_nodes,):
            raise UserError(f"{place}: y has {len(value)} numbers for {num_nodes} nodes")
        if not (np.isfinite(weight) & (weight >= 0)).all():
            raise UserError(f"{place}: weights must be finite and not negative; correct the step")
        if len(edges) and not (edges.min() >= 0 and edges.max() < num_nodes):
            raise UserError(f"{place}: edges name nodes outside 0..{num_nodes - 1}")
        pairs.append(edges.astype(np.int64))
        weights.append(weight)
        values.append(value)
        if step.get("X") is not None:
            features.append(_array(place, "X", step["X"]))
            if not np.isfinite(features[-1]).all():
                raise UserError(f"{place}: X must be finite; fill the gap")
    if features and {one.shape for one in features} != {(num_nodes, features[0].shape[-1])}:
        raise UserError(f"{path}: X must be [{num_nodes}, features] at every step")
    if features and len(features) < len(steps):
        raise UserError(f"{path}: X stands at {len(features)} of {len(steps)} steps alone")
    all_pairs = np.concatenate(pairs)
    events = EdgeEvents(
        name=path.name,
        source=np.ascontiguousarray(all_pairs[:, 0]),
        target=np.ascontiguousarray(all_pairs[:, 1]),
        node_ids=_node_ids(path, content, num_nodes),
        step=np.repeat(np.arange(len(steps)), [len(one) for one in pairs]),
        weight=np.concatenate(weights),
    )
    x = torch.from_numpy(np.stack(features)).float() if features else None
    return events, NodeSeries(torch.from_numpy(np.stack(values)).float(), x)


def _load(path: Path) -> dict[str, Any]:
    try:
        with open_text(path) as file:
            content = json.load(file)
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from None
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}: line {error.lineno}, column {error.colno}: no JSON ({error.msg}); the file "
            "is damaged or cut short: copy it again"
        ) from None
    except (EOFError, OSError) as error:
        raise truncated(path, error) from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object, got a {type(content).__name__}")
    return content


def _steps_of_mapping(path: Path, content: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Steps of the covid layout, None for another one."""
    if "edge_mapping" not in content:
        return None
    try:
        mapping = content["edge_mapping"]
        edges, weights, y = mapping["edge_index"], mapping["edge_weight"], content["y"]
        keys = _sorted_keys(path, edges)
        return [{"edges": edges[k], "weights": weights[k], "y": y[int(k)]} for k in keys]
    except (KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"{path} lacks {error} beside edge_mapping; its edge_index and edge_weight must have "
            "the same keys, and y a row for each"
        ) from None


def _steps_of_entries(path: Path, content: dict[str, Any]) -> list[dict[str, Any]]:
    keys = _sorted_keys(path, {key: 0 for key in content if key.isdigit()})
    for key in keys:
        for name in ("edges", "weights", "y"):
            if not isinstance(content[key], dict) or name not in content[key]:
                raise UserError(f"{path}: step {key} has no {name!r}; give every step all of them")
    return [content[key] for key in keys]


def _sorted_keys(path: Path, keys: Mapping[str, Any]) -> list[str]:
    if not keys:
        raise UserError(
            f"{path} has neither numbered steps nor edge_mapping; it is no graph in a known layout"
        )
    if not all(key.isdigit() for key in keys):
        raise UserError(f"{path}: steps must be numbered from 0 on, got {', '.join(keys)[:60]}")
    ordered = sorted(keys, key=int)
    missing = set(range(len(ordered))) - {int(key) for key in ordered}
    if missing:
        raise UserError(f"{path} lacks step {min(missing)}; steps must be numbered from 0 on")
    return ordered


def _array(place: str, name: str, values: Any) -> Float64[ndarray, "*shape"]:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise UserError(f"{place}: {name} must hold numbers, and rows of equal length") from None


def _node_ids(path: Path, content: dict[str, Any], num_nodes: int) -> np.ndarray:
    names = content.get("node_ids")
    if not isinstance(names, dict):
        return np.arange(num_nodes)
    if sorted(names.values()) != list(range(num_nodes)):
        raise UserError(f"{path}: node_ids must number {num_nodes} nodes from 0 on")
    return np.array(sorted(names, key=names.__getitem__), object)
