"""Which format a file or folder has, by its names and its first lines."""

from pathlib import Path
from typing import Literal

from foretell.errors import UserError
from graphs.data import elliptic, reddit
from graphs.data.arrow_columns import csv_header, is_number, is_parquet
from graphs.data.as733 import day_files
from graphs.data.bitcoin import MAX_RATING
from graphs.data.text_table import text_records
from graphs.data_config import DataConfig

Format = Literal["bitcoin", "konect", "as733", "reddit", "sbm", "elliptic", "json", "edges"]
_SBM_HEADER = ["source", "target", "weight", "time"]
_MAX_NUMBERED_STEP = 100_000


def detect_kind(config: DataConfig) -> tuple[Format, str]:
    """The format of `config.path` and why, for a message.

    Raises:
        UserError: There is nothing at the path, or it has no known format.
    """
    path = Path(config.path)
    if not path.exists():
        raise UserError(f"data.path {path}: no such file or folder; check the path")
    return _folder(path) if path.is_dir() else _file(path, config)


def _folder(path: Path) -> tuple[Format, str]:
    if any(path.glob(f"{elliptic.FEATURES}*")):
        return "elliptic", f"it holds {elliptic.FEATURES}"
    if files := reddit.link_files(path):
        return "reddit", f"it holds {files[0].name}"
    if files := day_files(path):
        return "as733", f"it holds files of days such as {files[0].name}"
    raise UserError(
        f"data.path {path}: a folder needs {elliptic.FEATURES} (Elliptic), soc-redditHyperlinks-"
        "title.tsv (Reddit) or as19971108.txt, ... (AS-733); of another data set give its file"
    )


def _file(path: Path, config: DataConfig) -> tuple[Format, str]:
    name = path.name.removesuffix(".gz")
    if name.endswith((".tar", ".tgz", ".zip", ".bz2")):
        raise UserError(f"data.path {path}: unpack the archive and give what is in it")
    if name.endswith(".json"):
        return "json", "its name"
    if is_parquet(path):
        return "edges", "it is Parquet"
    if name.startswith("out."):
        return "konect", "its name"
    line = next(text_records(path, "\n"), (0, [""]))[1][0]
    if not line:
        raise UserError(f"{path} is empty; give a file with rows")
    if line.startswith("%"):
        return "konect", "its first line begins with %"
    if line.split("\t")[0] == reddit.HEADER:
        return "reddit", "its header"
    if _is_rating(line.split(",")):
        return "bitcoin", f"rows such as {line}"
    wanted = [config.columns.source, config.columns.target, config.columns.time]
    header = csv_header(path, wanted)[1]
    if [cell.lower() for cell in header] == _SBM_HEADER and _numbers_steps(path, config):
        return "sbm", "its header and small numbers as times"
    if set(header) & set(wanted) or any(not is_number(cell) for cell in header):
        return "edges", f"its header {', '.join(header)[:80]}"
    raise UserError(
        f"data.path {path}: cannot tell the format from {line[:60]!r}; set data.kind, or give the "
        "columns a header and name them with data.columns"
    )


def _is_rating(cells: list[str]) -> bool:
    if len(cells) != 4 or not all(is_number(cell) for cell in cells):
        return False
    rating = float(cells[2])
    return rating.is_integer() and abs(rating) <= MAX_RATING


def _numbers_steps(path: Path, config: DataConfig) -> bool:
    """Whether times of the first rows are small whole numbers and nothing else is asked for."""
    if config.step_s is not None or config.columns != type(config.columns)():
        return False
    records = text_records(path, ",")
    next(records)
    for _, (_, fields) in zip(range(100), records, strict=False):
        time = fields[-1]
        if not (is_number(time) and 0 <= float(time) < _MAX_NUMBERED_STEP):
            return False
    return True
