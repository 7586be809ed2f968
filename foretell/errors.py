"""Errors a user can act on: one line, exit code 2, no traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Wrong input from outside. The message names the thing, the place and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


def missing_package(name: str, extra: str) -> UserError:
    """The error for an optional package that is not installed.

    Args:
        name: Package that could not be imported.
        extra: Extra of this distribution that brings it; empty if it is a core dependency.
    """
    target = f"foretell[{extra}]" if extra else "foretell"
    return UserError(f"{name} is not installed; it comes with: pip install '{target}'")


def nearest(word: str, allowed: Iterable[str]) -> str:
    """`; did you mean X?` for the closest allowed word, empty when none is close."""
    candidates = list(allowed)
    close = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    if not close:
        folded = {candidate.lower(): candidate for candidate in candidates}
        match = difflib.get_close_matches(word.lower(), list(folded), n=1, cutoff=0.5)
        close = [folded[match[0]]] if match else []
    return f"; did you mean {close[0]!r}?" if close else ""
