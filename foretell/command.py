"""One verb: its flags from the configuration's dataclass, checked before anything heavy loads."""

import dataclasses
import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from foretell.config import (
    RunOptions,
    convert,
    flag_aliases,
    from_dict,
    leaves,
    load_mapping,
    merge,
    without_aliases,
)
from foretell.errors import UserError, nearest
from foretell.presets import fitting_presets, read_config
from foretell.run import RunDirectory, default_out, discard_empty, latest_out
from foretell.seeds import run_seeds
from foretell.verbs import Verb, load

_CONFIG_HELP = "a YAML file or a preset by name; may be repeated, the last wins"


def run_verb(head: str, name: str, verb: Verb, arguments: Sequence[str]) -> None:
    """Check the arguments of `foretell <head> <name>` and run it."""
    config_kind = load(verb.config)
    if "--help" in arguments or "-h" in arguments:
        sys.stdout.write(_help(head, name, verb, config_kind))
        return
    defaults = load(verb.defaults) if verb.defaults else None
    config, options, config_name = parse(head, name, config_kind, arguments, defaults)
    if options.seeds > 1 and not verb.seeded:
        raise UserError(
            f"foretell {head} {name}: --seeds {options.seeds} would do the same {options.seeds} "
            "times, for the seed has no effect there: drop it"
        )
    function = load(verb.run)
    _set_up_messages(options)
    placed = _with_folder(options, f"{head}-{name}", config_name)
    try:
        if verb.own_seeds:
            function(config, placed)
        else:
            run_seeds(function, config, placed)
        if options.quiet and os.environ.get("LOCAL_RANK", "0") == "0":
            sys.stdout.write(_line(Path(placed.out)))
    finally:
        if not options.out:
            discard_empty(Path(placed.out))


def _line(out: Path) -> str:
    """One line of JSON for programs: the run's folder and its numbers."""
    numbers = RunDirectory(out)
    metrics = numbers.read_metrics() if numbers.metrics.is_file() else {}
    return json.dumps({"out": str(out), "metrics": metrics}) + "\n"


def parse(
    head: str,
    name: str,
    config_kind: type,
    arguments: Sequence[str],
    defaults: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> tuple[Any, RunOptions, str]:
    """Read flags and configuration files.

    Args:
        head: Such as `lidar`.
        name: The verb.
        config_kind: Its configuration.
        arguments: What was typed after the verb.
        defaults: Values under files and flags, from the flags that were given.

    Returns:
        The configuration, the run's options and the configuration's name.

    Raises:
        UserError: Wrong key or value: one line with key, value, allowed values, nearest match.
    """
    flags = _read_flags(head, name, config_kind, arguments)
    sources = flags.pop("config", None) or []
    values = defaults(flags) if defaults else {}
    for source in sources:
        content, place = read_config(source, head)
        from_dict(config_kind, content, place=place)
        values = merge(values, without_aliases(config_kind, content, place=place))
    option_names = {field.name for field in dataclasses.fields(RunOptions)}
    options = {key: value for key, value in flags.items() if key in option_names}
    overrides = {key: value for key, value in flags.items() if key not in option_names}
    config: Any = from_dict(config_kind, merge(values, overrides))
    config_name = Path(sources[-1]).stem if sources else "default"
    return config, from_dict(RunOptions, options), config_name


def _parser(head: str, name: str, config_kind: type) -> Any:
    from jsonargparse import ArgumentParser, set_parsing_settings

    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog=f"foretell {head} {name}",
        usage=f"foretell {head} {name} [--config NAME] [--key value ...]",
        exit_on_error=False,
    )
    parser.add_argument("--config", action="append", type=str, help=_CONFIG_HELP)
    parser.add_class_arguments(RunOptions, None)
    parser.add_class_arguments(config_kind, None)
    return parser


def _read_flags(
    head: str, name: str, config_kind: type, arguments: Sequence[str]
) -> dict[str, Any]:
    """Only the flags that were given, as a nested dictionary."""
    from jsonargparse import ArgumentError

    command = f"foretell {head} {name}"
    words = _checked_words(command, config_kind, arguments)
    try:
        namespace = _parser(head, name, config_kind).parse_args(words, defaults=False)
    except ArgumentError as error:
        raise UserError(f"{command}: {error}") from None
    given: dict[str, Any] = namespace.as_dict()
    return given


def _checked_words(command: str, config_kind: type, arguments: Sequence[str]) -> list[str]:
    """The arguments as `--flag=value` in the form jsonargparse reads.

    A wrong flag or value is refused here, where the nearest right one can be named.
    """
    annotations = dict(leaves(config_kind)) | dict(leaves(RunOptions)) | {"config": str}
    aliases = flag_aliases(config_kind)
    checked: list[str] = []
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            raise UserError(f"{command}: {word!r} is not a flag; flags begin with --")
        flag, equals, value = word[2:].partition("=")
        flag = aliases.get(flag, flag)
        if flag not in annotations:
            hint = nearest(f"--{flag}", [f"--{path}" for path in annotations])
            raise UserError(
                f"{command}: unknown flag --{flag}{hint or f'; {command} --help lists all'}"
            )
        if not equals and rest and not rest[0].startswith("--"):
            value = rest.pop(0)
        elif not equals and annotations[flag] is bool:
            value = "true"
        elif not equals:
            raise UserError(f"{command}: --{flag} needs a value")
        checked.append(f"--{flag}={_canonical(command, flag, value, annotations[flag])}")
    return checked


def _canonical(command: str, flag: str, text: str, annotation: Any) -> str:
    value: Any = text
    if text.lstrip().startswith("["):
        value = load_mapping(f"value: {text}", place=f"--{flag}")["value"]
    value = convert(value, annotation, key=f"--{flag}", place=command)
    return value if isinstance(value, str) else json.dumps(value)


def _help(head: str, name: str, verb: Verb, config_kind: type) -> str:
    keys = [field.name for field in dataclasses.fields(config_kind)]
    presets = ", ".join(fitting_presets(head, keys)) or "none"
    text: str = _parser(head, name, config_kind).format_help()
    # jsonargparse's --key+ appends to a list; here a list is given whole, and files by --config.
    text = re.sub(r", --\S+\+ \S+", "", text)
    text = re.sub(r"(?m)^  --\S+ CONFIG\s+Path to a configuration file\.\n", "", text)
    return f"{verb.help}\npresets: {presets}\n\n{text}"


def _with_folder(options: RunOptions, verb: str, config_name: str) -> RunOptions:
    out = options.out
    if not out and os.environ.get("LOCAL_RANK", "0") != "0":
        out = os.environ.get("FORETELL_OUT", "")  # the folder that the first process chose
    if not out and options.resume == "auto":
        out = str(latest_out(verb, config_name) or "")
    if not out:
        out = str(default_out(verb, config_name))
    os.environ["FORETELL_OUT"] = out
    return dataclasses.replace(options, out=out)


def _set_up_messages(options: RunOptions) -> None:
    """Our packages' messages: results to standard output, warnings to standard error."""
    # Lightning's advice (more workers, log more often) is not about the user's input.
    warnings.filterwarnings("ignore", module=r"lightning\.")
    output = logging.StreamHandler(sys.stdout)
    output.addFilter(lambda record: record.levelno < logging.WARNING)
    errors = logging.StreamHandler(sys.stderr)
    errors.setLevel(logging.WARNING)
    errors.setFormatter(logging.Formatter("foretell: %(levelname)s: %(message)s"))
    for package in ("foretell", "lidar", "graphs", "forecasting"):
        logger = logging.getLogger(package)
        logger.handlers = [output, errors]
        logger.setLevel(logging.WARNING if options.quiet else logging.INFO)
        logger.propagate = False
