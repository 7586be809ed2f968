"""The configuration that training leaves in a model folder, and the defaults it gives verbs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from foretell.config import from_yaml, to_dict
from foretell.errors import UserError

T = TypeVar("T")


def kept_config(kind: type[T], directory: Path | str, file: str, *, what: str) -> T:
    """Read `directory/file`.

    Args:
        kind: Dataclass of the configuration.
        directory: Model folder.
        file: Its YAML file.
        what: For the message, such as "trained model".

    Raises:
        UserError: No such file, or one that does not fit.
    """
    path = Path(directory) / file
    if not path.is_file():
        raise UserError(
            f"no {what} in {directory}: {file} is missing{inner_folder(Path(directory), file)}"
        )
    return from_yaml(kind, path.read_text(), place=str(path))


def kept_values(
    kind: type, flags: dict[str, Any], file: str, names: Sequence[str], *, what: str
) -> dict[str, Any]:
    """Parts of the configuration kept with `--model DIR`, for a verb's defaults; none without."""
    if not flags.get("model"):
        return {}
    trained = to_dict(kept_config(kind, flags["model"], file, what=what))
    return {name: trained[name] for name in names}


def inner_folder(directory: Path, file: str) -> str:
    """`; did you mean DIR/model?` where a run's folder was given for its model's."""
    inside = directory / "model"
    return f"; did you mean {str(inside)!r}?" if (inside / file).is_file() else ""
