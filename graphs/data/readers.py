"""From a path to snapshots, whatever the format."""

import logging
from pathlib import Path

from foretell.errors import UserError
from graphs.data.as733 import read_as733
from graphs.data.bitcoin import STEP_S as BITCOIN_STEP_S
from graphs.data.bitcoin import read_bitcoin
from graphs.data.detect import detect_kind
from graphs.data.edge_list import read_edge_list
from graphs.data.elliptic import read_elliptic
from graphs.data.events import build_sequence
from graphs.data.generate import generate_sbm
from graphs.data.konect import default_step_s, read_konect
from graphs.data.node_series import read_node_series
from graphs.data.reddit import STEP_S as REDDIT_STEP_S
from graphs.data.reddit import read_reddit
from graphs.data.sbm import read_sbm
from graphs.data.snapshots import SnapshotSequence
from graphs.data_config import ColumnsConfig, DataConfig

_log = logging.getLogger(__name__)


def read_graph(config: DataConfig) -> SnapshotSequence:
    """Read a data set and cut it into snapshots.

    What is detected, how many rows are dropped and why, and whether times had to be sorted is
    logged. Nothing is downloaded.

    Args:
        config: Path, kind and steps.

    Raises:
        UserError: One line naming the file, the line or row, and the remedy.
    """
    kind = config.kind
    if kind == "generated":
        if config.path:
            raise UserError("data.path has no effect with data.kind generated: drop one of them")
        return generate_sbm(config.generator, config)
    if not config.path:
        raise UserError(
            "data.path is empty: give a file or folder, or data.kind generated for a random graph"
        )
    path = Path(config.path)
    if kind == "auto":
        kind, why = detect_kind(config)
        _log.info("data.path %s is read as %s (%s)", path, kind, why)
    _check_kind_of_path(path, kind)
    rating = kind == "bitcoin" and config.columns == ColumnsConfig(attributes=["rating"])
    if config.columns != ColumnsConfig() and kind != "edges" and not rating:
        raise UserError(
            f"{path} is read as {kind}, where data.columns has no effect; drop it, or set "
            "data.kind edges"
        )
    if config.drop_time_column and kind != "elliptic":
        raise UserError(f"data.drop_time_column has no effect with {kind}; drop it")
    match kind:
        case "bitcoin":
            events = read_bitcoin(path, rating_as="attribute" if rating else "label")
            return build_sequence(events, config, default_step_s=BITCOIN_STEP_S)
        case "konect":
            return build_sequence(read_konect(path), config, default_step_s=default_step_s(path))
        case "as733":
            return build_sequence(read_as733(path, max_steps=config.max_steps), config)
        case "reddit":
            events, features = read_reddit(path)
            fields = {} if features is None else {"x": features}
            return build_sequence(
                events, config, default_step_s=REDDIT_STEP_S, nodes=lambda step: fields
            )
        case "sbm":
            return build_sequence(read_sbm(path, directed=config.directed), config)
        case "elliptic":
            events, table = read_elliptic(path, drop_time_column=config.drop_time_column)
            return build_sequence(
                events, config, first_step=0, num_steps=table.num_steps, nodes=table.fields
            )
        case "json":
            events, series = read_node_series(path)
            return build_sequence(
                events, config, first_step=0, num_steps=series.num_steps, nodes=series.fields
            )
        case _:
            numbered = config.step_s == 0
            return build_sequence(read_edge_list(path, config.columns, numbered=numbered), config)


def _check_kind_of_path(path: Path, kind: str) -> None:
    folders = kind in ("as733", "elliptic")
    if not path.exists():
        raise UserError(f"data.path {path}: no such file or folder; check the path")
    if path.is_dir() != folders and kind != "reddit":
        found, wanted = ("file", "folder") if folders else ("folder", "file")
        raise UserError(f"data.path {path} is a {found}; data.kind {kind} needs a {wanted}")
