"""Saved models: a folder of safetensors weights, config.json and a card; no pickle, no network."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from foretell.config import from_dict, to_dict
from foretell.errors import UserError
from foretell.kept_config import inner_folder
from foretell.run import atomic_write

T = TypeVar("T")
Migration = Callable[[dict[str, Any]], dict[str, Any]]

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"


@dataclass(frozen=True)
class KeyReport:
    """What loading did with every weight; each tuple is sorted."""

    matched: tuple[str, ...]
    """Loaded."""
    missing: tuple[str, ...]
    """In the module, not in the file."""
    unexpected: tuple[str, ...]
    """In the file, not in the module."""
    shape_changed: tuple[str, ...]
    """In both, with different shapes; not loaded."""

    @property
    def complete(self) -> bool:
        """Every weight of the file and of the module found its partner."""
        return not (self.missing or self.unexpected or self.shape_changed)

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} matched"]
        for name in ("missing", "unexpected", "shape_changed"):
            keys = getattr(self, name)
            first = f" ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})" if keys else ""
            parts.append(f"{len(keys)} {name.replace('_', ' ')}{first}")
        return ", ".join(parts)


def save(
    module: nn.Module, config: Any, directory: Path | str, card: str, *, format_version: int = 1
) -> None:
    """Write a model folder, each file whole or not at all.

    Args:
        module: Network whose weights are kept; its class name is the architecture.
        config: Dataclass from which the network is built.
        directory: Folder, made when missing.
        card: Text of README.md: what the model is, its data and its numbers.
        format_version: Version of the config's fields.
    """
    from safetensors.torch import save as serialise

    folder = Path(directory)
    weights = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in module.state_dict().items()
    }
    content = {
        "format_version": format_version,
        "architecture": type(module).__name__,
        "config": to_dict(config),
    }
    atomic_write(folder / WEIGHTS, serialise(weights, metadata={"format": "pt"}))
    atomic_write(folder / CARD, card if card.endswith("\n") else card + "\n")
    atomic_write(folder / CONFIG, json.dumps(content, indent=2) + "\n")


def load_config(
    kind: type[T],
    directory: Path | str,
    *,
    format_version: int = 1,
    migrations: Mapping[int, Migration] | None = None,
) -> T:
    """The configuration of a saved model, brought up to the present format.

    Args:
        kind: Dataclass of the configuration.
        directory: Model folder.
        format_version: The present version.
        migrations: For each older version, the function that makes its dictionary one newer.

    Raises:
        UserError: No model there, a newer format, a version without migration, a wrong key.
    """
    content = _read_json(Path(directory))
    version, values = content["format_version"], content["config"]
    if version > format_version:
        raise UserError(
            f"{directory} has format_version {version}, this version reads up to "
            f"{format_version}: upgrade foretell"
        )
    for older in range(version, format_version):
        if migrations is None or older not in migrations:
            raise UserError(f"{directory} has format_version {version}, which cannot be migrated")
        values = migrations[older](dict(values))
    return from_dict(kind, values, place=str(Path(directory) / CONFIG))


def load_weights(module: nn.Module, directory: Path | str, *, partial: bool = False) -> KeyReport:
    """Load weights into `module` and say what became of every key.

    Args:
        module: Network to fill in place.
        directory: Model folder.
        partial: Accept missing, unexpected and re-shaped weights.

    Raises:
        UserError: Another architecture, or keys that differ while `partial` is off.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(directory)
    architecture = _read_json(folder)["architecture"]
    if architecture != type(module).__name__:
        raise UserError(f"{folder} holds a {architecture}, not a {type(module).__name__}")
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"no model in {folder}: {WEIGHTS} is missing")
    try:
        stored = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise UserError(f"{folder / WEIGHTS} is damaged: {error}") from None
    own = module.state_dict()
    common = own.keys() & stored.keys()
    fitting = {name for name in common if own[name].shape == stored[name].shape}
    report = KeyReport(
        matched=tuple(sorted(fitting)),
        missing=tuple(sorted(own.keys() - stored.keys())),
        unexpected=tuple(sorted(stored.keys() - own.keys())),
        shape_changed=tuple(sorted(common - fitting)),
    )
    if not report.complete and not partial:
        raise UserError(
            f"{folder} does not fit the model: {report}; give the model the values of "
            f"{folder / CONFIG}"
        )
    module.load_state_dict({name: stored[name] for name in fitting}, strict=False)
    return report


def _read_json(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"no model in {folder}: {CONFIG} is missing{inner_folder(folder, CONFIG)}")
    try:
        content = json.loads(path.read_text())
        return {key: content[key] for key in ("format_version", "architecture", "config")}
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} is not a model's configuration: format_version, architecture and config "
            "are needed"
        ) from None
