"""Progress over an iterable: a bar on a terminal, a line now and then in a log file."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def track(
    items: Iterable[T], total: int, what: str, *, quiet: bool = False, every_s: float = 15.0
) -> Iterator[T]:
    """Hand out `items` and show on standard error how many are done and the time left.

    Args:
        items: Anything to go through.
        total: Their number.
        what: Shown before the count, such as `scoring`.
        quiet: Show nothing.
        every_s: Seconds between two lines where standard error is no terminal.
    """
    if quiet:
        yield from items
        return
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track as rich_track

        yield from rich_track(items, what, total, console=Console(stderr=True))
        return
    started_at = printed_at = time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - printed_at >= every_s:
            printed_at = now
            left_s = (now - started_at) / done * (total - done)
            sys.stderr.write(f"{what} {done}/{total}  {clock(left_s)} left\n")
            sys.stderr.flush()
        yield item


def clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    Example:
        >>> clock(3725.4)
        '1:02:05'
    """
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
