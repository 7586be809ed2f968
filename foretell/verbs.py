"""What a head's `cli.py` says of its verbs; imports nothing."""

import importlib
from typing import Any, NamedTuple


class Verb(NamedTuple):
    """One command of a head, by name, so that listing verbs imports none of them."""

    help: str
    """One line for `foretell <head> --help`."""
    config: str
    """`module:Class` of its configuration; the module imports no torch."""
    run: str
    """`module:function`, called as `function(config, options)`."""
    defaults: str = ""
    """`module:function`, called with the given flags; returns values that files and flags
    override, such as those kept with `--model`. Empty = the dataclass's own defaults."""
    seeded: bool = True
    """Whether the seed changes what it writes; where not, `--seeds` above 1 is refused."""
    own_seeds: bool = False
    """It runs the seeds itself and puts all into one folder."""


def load(name: str) -> Any:
    """The object that `module:attribute` names."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
