"""A user's own edges: CSV with a header, or Parquet, with the columns that the configuration names.

Ids are numbers or text; 007 and 7 are two nodes. Times are unix seconds, dates, or numbers of
steps. Other columns are not read.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from foretell.errors import UserError
from graphs.data.arrow_columns import NULLS, ColumnSource, is_number, open_columns
from graphs.data.edge_labels import UNKNOWN
from graphs.data.events import EdgeEvents
from graphs.data.node_ids import number_nodes
from graphs.data.times import seconds_of_dates
from graphs.data_config import ColumnsConfig

_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"


def read_edge_list(path: Path, columns: ColumnsConfig, *, numbered: bool = False) -> EdgeEvents:
    """Edges of the named columns.

    Args:
        path: CSV (comma, tab, semicolon or | between columns; plain or .gz) or Parquet.
        columns: Names.
        numbered: Times are numbers of steps.

    Raises:
        UserError: A column is missing, the label is also an attribute, or a row does not fit:
            an id or time that is missing, a weight that is negative or no number, a cell that
            cannot be read; naming its line.
    """
    if columns.label is not None and columns.label in (columns.weight, *columns.attributes):
        raise UserError(
            f"data.columns: {columns.label!r} makes the label, so it must be no attribute and no "
            "weight, which are inputs; remove it there"
        )
    text = [columns.source, columns.target]
    text += [] if columns.label is None else [columns.label]
    numbers = [columns.time, *columns.attributes]
    numbers += [] if columns.weight is None else [columns.weight]
    source = open_columns(path, [*text, *numbers], text=text, time=columns.time)
    if not len(source.table):
        raise UserError(f"{path} holds no edge; give a file with at least one row")
    (sources, targets), ids = _numbered_ids(source, columns.source, columns.target)
    times = _times(source, columns.time)
    step = None
    if numbered:
        if (broken := times != np.floor(times)).any():
            row = int(broken.argmax())
            raise source.fail(
                row, f"{columns.time} {times[row]} is no number of a step (data.step_s is 0)"
            )
        step = times.astype(np.int64)
    weight = label = attributes = None
    classes: tuple[str, ...] = ()
    if columns.weight is not None:
        weight = _numbers(source, columns.weight)
        if (negative := weight < 0).any():
            row = int(negative.argmax())
            raise source.fail(
                row,
                f"{columns.weight} {weight[row]:g} must not be negative; correct or remove the row",
            )
    if columns.label is not None:
        label, classes = _labels(source, columns.label)
    if columns.attributes:
        found = [_numbers(source, name).astype(np.float32) for name in columns.attributes]
        attributes = np.stack(found, axis=1)
    return EdgeEvents(
        name=path.name,
        source=sources,
        target=targets,
        node_ids=ids,
        time_s=None if numbered else times,
        step=step,
        weight=weight,
        label=label,
        class_names=classes,
        attributes=attributes,
        attribute_names=tuple(columns.attributes),
    )


def _numbered_ids(
    source: ColumnSource, *names: str
) -> tuple[list[Int64[ndarray, " rows"]], ndarray]:
    """Numbers of the nodes of both columns; ids that all are whole numbers become numbers."""
    import pyarrow as pa
    from pyarrow import compute, types

    for name in names:
        _check_filled(source, name)
    columns = [source.table[name] for name in names]
    if all(types.is_floating(column.type) for column in columns):
        columns = [_whole(column) for column in columns]
    if all(types.is_integer(c.type) and not types.is_uint64(c.type) for c in columns):
        return number_nodes(*(column.to_numpy().astype(np.int64) for column in columns))
    try:
        texts = [compute.cast(column, pa.large_string()) for column in columns]
    except pa.ArrowException as error:
        raise UserError(f"{source.path}: ids must be numbers or text: {error}") from None
    for name, text in zip(names, texts, strict=True):
        if (empty := compute.equal(text, "").to_numpy()).any():
            raise source.fail(int(empty.argmax()), f"no {name}; correct or remove the row")
    joined = pa.chunked_array([chunk for text in texts for chunk in text.chunks])
    # Chunk by chunk, with dictionaries to unify, it would take 5 times as long.
    coded = joined.combine_chunks().dictionary_encode()
    dictionary, codes = coded.dictionary, coded.indices.to_numpy()
    ids: ndarray = dictionary.to_numpy(zero_copy_only=False)
    if compute.all(compute.match_substring_regex(dictionary, _INTEGER)).as_py():
        ids = ids.astype(np.int64)
    order = np.argsort(ids, kind="stable")
    number = np.empty(len(ids), np.int64)
    number[order] = np.arange(len(ids))
    numbers = number[codes]
    return [numbers[: len(source.table)], numbers[len(source.table) :]], ids[order]


def _whole(column: Any) -> Any:
    """A column of floats as whole numbers where all are, as pandas writes numbers with gaps."""
    import pyarrow as pa
    from pyarrow import compute

    try:
        return compute.cast(column, pa.int64())
    except pa.ArrowInvalid:
        return column


def _times(source: ColumnSource, name: str) -> Float64[ndarray, " rows"]:
    """Unix seconds, or numbers as they stand."""
    import pyarrow as pa
    from pyarrow import compute, types

    _check_filled(source, name)
    column = source.table[name]
    if types.is_string(column.type) or types.is_large_string(column.type):
        text = column.to_numpy(zero_copy_only=False)
        return seconds_of_dates(text, source.fail)
    if types.is_timestamp(column.type) or types.is_date(column.type):
        moments = compute.cast(column, pa.timestamp("us"), safe=False)
        microseconds: ndarray = compute.cast(moments, pa.int64()).to_numpy()
        return microseconds / 1e6
    return _numbers(source, name)


def _numbers(source: ColumnSource, name: str) -> Float64[ndarray, " rows"]:
    """A column of finite numbers."""
    import pyarrow as pa
    from pyarrow import compute

    _check_filled(source, name)
    try:
        column = compute.cast(source.table[name], pa.float64(), safe=False)
    except pa.ArrowException as error:
        raise UserError(f"{source.path}: column {name!r} must hold numbers: {error}") from None
    values = np.array(column.to_numpy(), np.float64)
    if (broken := ~np.isfinite(values)).any():
        row = int(broken.argmax())
        raise source.fail(
            row, f"{name} {values[row]} is not a finite number; correct or remove the row"
        )
    return values


def _labels(source: ColumnSource, name: str) -> tuple[Int64[ndarray, " rows"], tuple[str, ...]]:
    """Classes in ascending order of the values, as numbers where all are; empty = unknown."""
    import pyarrow as pa
    from pyarrow import compute

    text = compute.cast(source.table[name], pa.string())
    coded = compute.fill_null(text, "").combine_chunks().dictionary_encode()
    values = [str(value) for value in coded.dictionary.to_pylist()]
    known = [value for value in values if value not in NULLS]
    keys: list[Any] = known
    if all(is_number(value) for value in known):
        keys = [float(value) for value in known]
    ranks = {key: rank for rank, key in enumerate(sorted(set(keys)))}
    rank_of = {value: ranks[key] for value, key in zip(known, keys, strict=True)}
    classes = np.array([rank_of.get(value, UNKNOWN) for value in values], np.int64)
    names = tuple(f"{key:g}" if isinstance(key, float) else key for key in ranks)
    return classes[coded.indices.to_numpy()], names


def _check_filled(source: ColumnSource, name: str) -> None:
    column = source.table[name]
    if column.null_count:
        row = int(column.is_null().to_numpy().argmax())
        raise source.fail(row, f"no {name}; correct or remove the row")
