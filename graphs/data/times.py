"""Dates as text to unix seconds."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Shaped
from numpy import ndarray

from foretell.errors import UserError


def seconds_of_dates(
    text: Shaped[ndarray, " rows"], fail: Callable[[int, str], UserError]
) -> Float64[ndarray, " rows"]:
    """Unix seconds of dates like 2013-12-31, 2013-12-31 16:39:58 or 2013-12-31T16:39:58+01:00.

    Without a zone they are UTC.

    Args:
        text: The dates.
        fail: Makes the error of a row, given its number and what is wrong.

    Raises:
        UserError: A text is no such date.
    """
    import pandas as pd

    codes, found = pd.factorize(text)  # many edges share a time
    dates = pd.to_datetime(pd.Series(found), format="ISO8601", utc=True, errors="coerce")
    if dates.isna().any() or (codes < 0).any():
        bad = np.append(dates.isna().to_numpy(), True)
        row = int(bad[codes].argmax())
        raise fail(
            row,
            f"time {text[row]!r} is no date such as 2013-12-31 or 2013-12-31 16:39:58; correct it, "
            "or give unix seconds",
        )
    microseconds = dates.dt.tz_localize(None).to_numpy().astype("datetime64[us]").astype(np.int64)
    return (microseconds / 1e6)[codes]
