"""Frozen dataclass <-> YAML or dictionary, strict in both directions, and torch-free.

A wrong key or value raises `UserError` naming the key, its place, what is allowed and the nearest
match. Values from text are read as a person means them: `on`/`off` are booleans, `2e-4` is a
number, `none` and `null` are None where None is allowed.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from foretell.errors import UserError, nearest

T = TypeVar("T")

_TRUE = ("true", "on", "yes", "1")
_FALSE = ("false", "off", "no", "0")


@dataclass(frozen=True)
class TrainerConfig:
    """Lightning Trainer's arguments under their own names, with laptop defaults."""

    max_epochs: int | None = None
    """Passes over the training data; none or -1 = until `max_steps`, without that as long as the
    verb's own schedule."""
    max_steps: int = -1
    """Optimiser steps; -1 = until `max_epochs`."""
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"] = "auto"
    """Where it runs; auto = a GPU when there is one."""
    devices: int | list[int] | Literal["auto"] = 1
    """How many devices, or their numbers."""
    num_nodes: int = 1
    """Machines; a Slurm allocation is detected."""
    strategy: str = "auto"
    """Lightning strategy, such as ddp."""
    sync_batchnorm: bool = True
    """With several processes, batch norm takes the statistics of their joint batch; our own, on any
    device."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    """Floating-point precision; weights are always 32-bit."""
    accumulate_grad_batches: int = 1
    """Batches per optimiser step."""
    log_every_n_steps: int = 10
    """Steps between two rows of metrics.csv."""
    check_val_every_n_epoch: int = 1
    """Epochs between two validation passes."""
    deterministic: bool = False
    """Bitwise repeatable on one device, slower."""
    limit_train_batches: int | float = 1.0
    """Batches (int) or share (float) of an epoch used."""
    limit_val_batches: int | float = 1.0
    """Batches (int) or share (float) of validation used."""
    checkpoint_every_n_steps: int = 0
    """Steps between two checkpoints that are kept; 0 = only last.ckpt, every epoch and at least
    every `checkpoint_minutes`."""
    checkpoint_minutes: float = 5.0
    """Longest time in minutes between two writes of last.ckpt."""
    threads: int = 0
    """torch threads; 0 = torch's choice."""


@dataclass(frozen=True)
class RunOptions:
    """The flags every verb takes beside its configuration."""

    out: str = ""
    """Folder of the run; empty = runs/<verb>/<config>/<UTC time>/ with a `latest` link."""
    seed: int = 0
    """First random seed."""
    seeds: int = 1
    """Number of seeds, from `seed` on."""
    resume: str = ""
    """auto = the newest checkpoint of `out`, or a checkpoint's path; empty = start anew."""
    quiet: bool = False
    """Print nothing but warnings, errors and at the end one line of JSON: folder and metrics."""
    logger: Literal["csv", "tensorboard", "wandb"] = "csv"
    """Where curves go besides metrics.csv."""

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise UserError(f"--seeds must be at least 1, got {self.seeds}")
        if self.seed < 0:
            raise UserError(f"--seed must not be negative, got {self.seed}")
        if self.seeds > 1 and self.resume not in ("", "auto"):
            raise UserError(
                f"--resume {self.resume} with --seeds {self.seeds} would give every seed the same "
                "weights; give --resume auto, which takes each seed's own checkpoint"
            )

    def each_seed(self) -> "Iterator[RunOptions]":
        """Options of one run per seed; with several seeds each has its folder `out/seed_<k>`."""
        if self.seeds == 1:
            yield self
            return
        for seed in range(self.seed, self.seed + self.seeds):
            out = str(Path(self.out) / f"seed_{seed}")
            yield dataclasses.replace(self, seed=seed, seeds=1, out=out)


def with_aliases(default: Any, *aliases: str) -> Any:
    """A field of a dataclass that files, flags and `from_dict` also take by other names."""
    return dataclasses.field(default=default, metadata={"aliases": aliases})


def without_aliases(kind: type, values: Mapping[str, Any], *, place: str = "") -> dict[str, Any]:
    """A nested mapping under the fields' own names.

    Raises:
        UserError: A field is given by two names.
    """
    own, hints = flag_aliases(kind), typing.get_type_hints(kind)
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = own.get(key, key)
        if name in found:
            raise UserError(f"{_where(place)}{name} is given twice, as {key} too: keep one")
        if isinstance(value, Mapping) and dataclasses.is_dataclass(inner := hints.get(name)):
            value = without_aliases(inner, value, place=place)  # type: ignore[arg-type]
        found[name] = value
    return found


def from_dict(kind: type[T], values: Mapping[str, Any], *, place: str = "") -> T:
    """Build a dataclass from a nested mapping; missing keys take their defaults.

    Args:
        kind: Dataclass to build.
        values: Nested mapping of field values.
        place: What the mapping was read from, for messages.

    Raises:
        UserError: On an unknown key or a value that does not fit, naming both.

    Example:
        >>> from_dict(RunOptions, {"seed": 3}).seed
        3
    """
    return typing.cast(T, _build(kind, without_aliases(kind, values, place=place), "", place))


def to_dict(config: Any) -> dict[str, Any]:
    """The nested plain mapping of a dataclass."""
    return dataclasses.asdict(config)


def to_yaml(config: Any) -> str:
    """The YAML text of a dataclass, fields in their order."""
    import yaml

    text: str = yaml.safe_dump(to_dict(config), sort_keys=False, default_flow_style=None, width=100)
    return text


def from_yaml(kind: type[T], text: str, *, place: str = "") -> T:
    """Build a dataclass from YAML text, strict as `from_dict`."""
    return from_dict(kind, load_mapping(text, place=place), place=place)


def load_mapping(text: str, *, place: str) -> dict[str, Any]:
    """Parse YAML text whose top level must be a mapping (or empty)."""
    import yaml

    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"{place} is not valid YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{place} must hold keys and values, got a {type(values).__name__}")
    return values


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested merge; `over` wins, lists are replaced whole."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def flag_aliases(kind: type) -> dict[str, str]:
    """Further names of a configuration's top-level flags -> the fields' own."""
    return {
        alias: field.name
        for field in dataclasses.fields(kind)
        for alias in field.metadata.get("aliases", ())
    }


def leaves(kind: type, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and annotation of every field that is not itself a dataclass."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        path = f"{prefix}{field.name}"
        if dataclasses.is_dataclass(hints[field.name]):
            yield from leaves(hints[field.name], f"{path}.")
        else:
            yield path, hints[field.name]


def convert(value: Any, annotation: Any, *, key: str, place: str = "") -> Any:
    """Read `value` as `annotation`, or raise `UserError` naming key, value and what is allowed."""
    try:
        return _convert(value, annotation)
    except (ValueError, TypeError):
        allowed = describe(annotation)
        hint = ""
        choices = [str(choice) for choice in _choices(annotation)]
        if isinstance(value, str) and choices:
            hint = nearest(value, choices)
        raise UserError(
            f"{_where(place)}{key} = {value!r} is not allowed; allowed: {allowed}{hint}"
        ) from None


def describe(annotation: Any) -> str:
    """What a person may write for an annotation."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(str(choice) for choice in args)
    if origin in (Union, types.UnionType):
        return " or ".join(describe(arg) for arg in args)
    if origin is list:
        return f"list of ({describe(args[0])})"
    if origin is tuple:
        return f"list of {len(args)} values ({', '.join(describe(arg) for arg in args)})"
    names = {bool: "on, off", int: "an integer", float: "a number", str: "text"}
    if annotation is type(None):
        return "none"
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _where(place: str) -> str:
    return f"{place}: " if place else ""


def _choices(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Literal:
        return list(get_args(annotation))
    return [choice for arg in get_args(annotation) for choice in _choices(arg)]


def _build(kind: Any, values: Any, prefix: str, place: str, base: Any = None) -> Any:
    """A dataclass from `values`; what they leave out is as in `base`, else the class's default."""
    if dataclasses.is_dataclass(values) and isinstance(values, kind):
        return values
    if not isinstance(values, Mapping):
        raise UserError(
            f"{_where(place)}{prefix.rstrip('.')} = {values!r} must hold keys of {kind.__name__}"
        )
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if key not in fields:
            raise UserError(
                f"{_where(place)}unknown key {path!r}; allowed: {', '.join(fields)}"
                f"{nearest(str(key), fields)}"
            )
        if dataclasses.is_dataclass(hints[key]):
            inner = _default(fields[key], hints[key]) if base is None else getattr(base, key)
            arguments[key] = _build(hints[key], value, f"{path}.", place, inner)
        else:
            arguments[key] = convert(value, hints[key], key=path, place=place)
    try:
        return kind(**arguments) if base is None else dataclasses.replace(base, **arguments)
    except ValueError as error:
        branch = f"{prefix.rstrip('.')}: " if prefix else ""
        raise UserError(f"{_where(place)}{branch}{error}") from None


def _default(field: "dataclasses.Field[Any]", kind: Any) -> Any:
    """What a field is when nothing is said of it; None where that is the class's own default.

    A class may resolve one field by another, so its own defaults are left to it.
    """
    if field.default_factory is kind:
        return None
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _convert(value: Any, annotation: Any) -> Any:
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return value
    if origin is Literal:
        return _convert_literal(value, args)
    if origin in (Union, types.UnionType):
        return _convert_union(value, args)
    if origin is list:
        if isinstance(value, str):  # as typed: a,b
            value = [item.strip() for item in value.split(",")] if value.strip() else []
        if not isinstance(value, list | tuple):
            raise TypeError
        return [_convert(item, args[0]) for item in value]
    if origin is tuple:
        if not isinstance(value, list | tuple) or len(value) != len(args):
            raise TypeError
        return tuple(_convert(item, arg) for item, arg in zip(value, args, strict=True))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise TypeError
        return {_convert(k, args[0]): _convert(v, args[1]) for k, v in value.items()}
    return _convert_scalar(value, annotation)


def _convert_literal(value: Any, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if type(choice) is type(value) and choice == value:
            return choice
    # YAML reads the words on and off as booleans, and 1 as a number.
    words = (_TRUE if value else _FALSE) if isinstance(value, bool) else (str(value),)
    for choice in choices:
        if str(choice).lower() in [word.lower() for word in words]:
            return choice
    raise ValueError


def _convert_union(value: Any, members: tuple[Any, ...]) -> Any:
    if type(None) in members and (value is None or str(value).lower() in ("none", "null", "")):
        return None
    for member in members:  # an exact type first, so that 1 stays an int in int | float
        if isinstance(member, type) and type(value) is member:
            return _convert(value, member)
    for member in members:
        try:
            return _convert(value, member)
        except (ValueError, TypeError):
            continue
    raise ValueError


def _convert_scalar(value: Any, annotation: Any) -> Any:
    if annotation is bool:
        if isinstance(value, bool):
            return value
        if str(value).lower() in _TRUE:
            return True
        if str(value).lower() in _FALSE:
            return False
        raise ValueError
    if isinstance(value, bool) and annotation in (int, float):
        raise TypeError
    if annotation is int:
        number = float(value)
        if not number.is_integer():
            raise ValueError
        return int(value) if isinstance(value, int) else int(number)
    if annotation is float:
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
        return number
    if annotation is str:
        if isinstance(value, str | int | float):
            return str(value)
        raise TypeError
    if annotation is type(None):
        raise TypeError
    if isinstance(value, annotation):
        return value
    raise TypeError
