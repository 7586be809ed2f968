"""The folder that training leaves: the network and the configuration that it was trained with."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretell.config import from_yaml, to_dict, to_yaml
from foretell.errors import UserError
from foretell.run import atomic_write
from graphs.config import TrainConfig

if TYPE_CHECKING:
    from graphs.network import GraphNetwork

TRAIN = "train.yaml"


def save_trained(
    network: "GraphNetwork", config: TrainConfig, directory: Path, *, card: str
) -> None:
    """Write config.json, model.safetensors, README.md and train.yaml."""
    network.save_pretrained(directory, card=card)
    atomic_write(directory / TRAIN, to_yaml(config))


def trained_config(directory: Path | str) -> TrainConfig:
    """The configuration a model was trained with.

    Raises:
        UserError: No model's folder.
    """
    path = Path(directory) / TRAIN
    if not path.is_file():
        inside = path.parent / "model"
        hint = f"; did you mean {str(inside)!r}?" if (inside / TRAIN).is_file() else ""
        raise UserError(f"no trained model in {directory}: {TRAIN} is missing{hint}")
    return from_yaml(TrainConfig, path.read_text(), place=str(path))


def evaluate_defaults(flags: dict[str, Any]) -> dict[str, Any]:
    """Values of `foretell graphs evaluate --model DIR` that flags and files override."""
    return _defaults(flags, "data", "split", "eval")


def predict_defaults(flags: dict[str, Any]) -> dict[str, Any]:
    """Values of `foretell graphs predict --model DIR` that flags and files override."""
    return _defaults(flags, "data")


def _defaults(flags: dict[str, Any], *names: str) -> dict[str, Any]:
    if not flags.get("model"):
        return {}
    trained = to_dict(trained_config(flags["model"]))
    return {name: trained[name] for name in names}
