"""Dates as text, against the standard library."""

from datetime import UTC, datetime

import numpy as np
import pytest

from foretell.errors import UserError
from graphs.data.times import seconds_of_dates


def fail(row: int, message: str) -> UserError:
    return UserError(f"row {row}: {message}")


def test_dates_with_and_without_time_zone_and_fraction():
    texts = ["2013-12-31", "2013-12-31 16:39:58", "2013-12-31T16:39:58.25Z",
             "2013-12-31T16:39:58+01:00", "1969-12-31 23:59:59", "2013-12-31"]  # fmt: skip
    expected = [
        datetime.fromisoformat(text if "+" in text or "Z" in text else f"{text}")
        .replace(tzinfo=None if "+" in text else UTC)
        .timestamp()
        for text in texts
        if "+" not in text
    ]
    expected.insert(3, datetime.fromisoformat(texts[3]).timestamp())
    np.testing.assert_array_equal(seconds_of_dates(np.array(texts, object), fail), expected)


@pytest.mark.parametrize("bad", ["yesterday", "2013-13-01", "", None, "31.12.2013"])
def test_what_is_no_date_is_told_with_its_row(bad):
    texts = np.array(["2013-12-31", bad, "2013-12-31", "x"], object)
    with pytest.raises(UserError, match=r"row 1: time .* is no date such as 2013-12-31"):
        seconds_of_dates(texts, fail)
