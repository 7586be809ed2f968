"""Progress over an iterable changes nothing of it and tells the time left."""

import pytest

from foretell import track as module
from foretell.track import clock, track


def test_items_pass_through_and_lines_tell_what_is_left(capsys, monkeypatch):
    seconds = iter([0.0, 0.0, 2.0, 4.0, 6.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(seconds))
    assert list(track("abcd", 4, "scoring", every_s=1.0)) == list("abcd")
    assert capsys.readouterr().err.splitlines() == [
        "scoring 1/4  0:00:06 left",
        "scoring 2/4  0:00:04 left",
        "scoring 3/4  0:00:02 left",
    ]


def test_quiet_shows_nothing(capsys):
    assert list(track(range(3), 3, "x", quiet=True, every_s=0.0)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("seconds", "text"), [(-1.0, "0:00:00"), (59.6, "0:01:00")])
def test_clock(seconds, text):
    assert clock(seconds) == text
