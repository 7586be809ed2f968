"""Configuration files by path or by name: those shipped with the package, or the checkout's."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from foretell.cli import HEADS
from foretell.config import load_mapping
from foretell.errors import UserError, nearest


def preset_folder(head: str) -> Path:
    """Folder of a head's presets, named as its package: inside the wheel, else the checkout's
    `configs/`."""
    package = Path(__file__).resolve().parent
    name = HEADS[head][0].partition(".")[0] if head in HEADS else head
    shipped = package / "configs" / name
    return shipped if shipped.is_dir() else package.parent / "configs" / name


def preset_names(head: str) -> list[str]:
    """Names that `--config` takes beside paths."""
    return sorted(path.stem for path in preset_folder(head).glob("*.yaml"))


def fitting_presets(head: str, keys: Collection[str]) -> list[str]:
    """Names of the presets whose top-level keys a verb's configuration has."""
    return [
        name
        for name in preset_names(head)
        if top_level_keys((preset_folder(head) / f"{name}.yaml").read_text()) <= set(keys)
    ]


def top_level_keys(text: str) -> set[str]:
    """Keys of a YAML mapping in block style, read without a parser.

    Example:
        >>> sorted(top_level_keys("# note\\na: 1\\nb:\\n  c: 2\\n"))
        ['a', 'b']
    """
    first = [line for line in text.splitlines() if line[:1].isalpha()]
    return {line.partition(":")[0] for line in first}


def read_config(name: str, head: str) -> tuple[dict[str, Any], str]:
    """Read a configuration file.

    Args:
        name: A path, else the name of a preset of `head`.
        head: Folder of presets, such as `lidar`.

    Returns:
        The values, and where they were read, for messages.

    Raises:
        UserError: Neither a file nor a preset.
    """
    path = Path(name)
    if not path.is_file():
        path = preset_folder(head) / f"{name.removesuffix('.yaml').removeprefix(head + '/')}.yaml"
    if not path.is_file():
        names = preset_names(head)
        raise UserError(
            f"--config {name}: no such file, and no preset of that name; presets: "
            f"{', '.join(names) or 'none'}{nearest(name, names)}"
        )
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--config {name}: cannot be read: {error}") from None
    return load_mapping(text, place=str(name)), str(name)
