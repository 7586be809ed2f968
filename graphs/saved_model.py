"""The folder that training leaves: the network and the configuration that it was trained with."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretell.config import to_yaml
from foretell.kept_config import kept_config, kept_values
from foretell.run import atomic_write
from graphs.config import TrainConfig

if TYPE_CHECKING:
    from graphs.network import GraphNetwork

TRAIN, WHAT = "train.yaml", "trained model"


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
    return kept_config(TrainConfig, directory, TRAIN, what=WHAT)


def evaluate_defaults(flags: dict[str, Any]) -> dict[str, Any]:
    """Values of `foretell graphs evaluate --model DIR` that flags and files override."""
    return kept_values(TrainConfig, flags, TRAIN, ("data", "split", "eval"), what=WHAT)


def predict_defaults(flags: dict[str, Any]) -> dict[str, Any]:
    """Values of `foretell graphs predict --model DIR` that flags and files override."""
    return kept_values(TrainConfig, flags, TRAIN, ("data",), what=WHAT)
