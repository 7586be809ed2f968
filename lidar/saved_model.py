"""The folder that pretraining leaves: the model, how it was trained, and statistics to score it.

Beside `config.json`, `model.safetensors` and the card there are `pretrain.yaml` (the resolved
configuration, from which `foretell lidar forecast` takes its defaults) and
`unmasked_norms.safetensors` (batch-norm statistics of unmasked sweeps: training sees masked ones).
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from foretell.config import to_yaml
from foretell.errors import UserError
from foretell.kept_config import kept_config, kept_values
from foretell.run import atomic_write
from lidar.config import PretrainConfig

if TYPE_CHECKING:
    from torch import Tensor

    from lidar.trend import Trend

PRETRAIN, NORMS = "pretrain.yaml", "unmasked_norms.safetensors"
WHAT = "pretrained model"


def save_trained(
    model: "Trend",
    config: PretrainConfig,
    directory: Path,
    *,
    card: str,
    unmasked_norms: "dict[str, Tensor]",
) -> None:
    """Write the model folder of a finished pretraining."""
    from safetensors.torch import save

    model.save_pretrained(directory, card=card)
    atomic_write(directory / PRETRAIN, to_yaml(config))
    if unmasked_norms:
        tensors = {name: tensor.cpu().contiguous() for name, tensor in unmasked_norms.items()}
        atomic_write(directory / NORMS, save(tensors))


def load_trained(directory: Path, *, unmasked_norms: bool) -> "Trend":
    """Read a model for scoring.

    Args:
        directory: Model folder.
        unmasked_norms: Use the statistics of unmasked sweeps (`eval.recalibrate_bn`).

    Raises:
        UserError: No model there, or no such statistics though they are asked for, or damaged
            ones.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from lidar.trend import Trend

    model = Trend.from_pretrained(directory)
    if unmasked_norms:
        path = directory / NORMS
        if not path.is_file():
            raise UserError(
                f"{directory} has no {NORMS}: it was trained with eval.recalibrate_bn off; "
                "give --eval.recalibrate_bn off"
            )
        try:
            norms = load_file(path)
        except SafetensorError as error:
            raise UserError(
                f"{path} is damaged: {error}; copy it again or give --eval.recalibrate_bn off"
            ) from None
        model.load_state_dict({**model.state_dict(), **norms})
    return model


def trained_config(directory: Path | str) -> PretrainConfig:
    """The configuration a model was pretrained with.

    Raises:
        UserError: No pretraining's folder.
    """
    return kept_config(PretrainConfig, directory, PRETRAIN, what=WHAT)


def forecast_defaults(flags: dict[str, Any]) -> dict[str, Any]:
    """Values of `foretell lidar forecast --model DIR` that flags and files override."""
    return kept_values(PretrainConfig, flags, PRETRAIN, ("data", "rays", "eval"), what=WHAT)
