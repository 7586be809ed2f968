"""Numbers of a table's rows as they are printed."""

from collections.abc import Mapping, Sequence

from foretell.seeds import mean_and_std


def shown(rows: Sequence[Mapping[str, str]], column: str, *, digits: int = 4) -> str:
    """Mean ± sample standard deviation over rows; `-` where one has no value."""
    if any(not row[column] for row in rows):
        return "-"
    mean, std = mean_and_std([float(row[column]) for row in rows])
    return f"{mean:.{digits}f}" + ("" if std is None else f" ± {std:.{digits}f}")
