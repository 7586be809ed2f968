"""`foretell forecast export`: fitted models as graphs that need nothing of this package.

A graph takes `context` [batch, context, 1] in the series' own units with `mean` and `std` [batch]
of each series, by which it was scaled, and gives `forecast` [batch, horizon, 1] in the same units;
norms and decomposition are inside. `scales.json` has the mean and deviation of the series of `fit`.
"""

import io
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from forecasting.fitted import Fitted
from forecasting.forecaster import Forecaster
from forecasting.forecaster_config import ExportConfig
from foretell.config import RunOptions
from foretell.errors import UserError, missing_package
from foretell.run import RunDirectory, atomic_write

_log = logging.getLogger(__name__)

INPUTS = ("context", "mean", "std")
SERIES = 3
"""Of random walks on which a graph is compared with its model, where a batch may be of any size."""


class InUnits(nn.Module):
    """A model between the series' own units and back.

    Args:
        model: Of scaled contexts.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        context: Float[Tensor, "batch context 1"],
        mean: Float[Tensor, " batch"],
        std: Float[Tensor, " batch"],
    ) -> Float[Tensor, "batch horizon 1"]:
        """Forecast."""
        mean, std = mean[:, None, None], std[:, None, None]
        found: Tensor = self.model((context - mean) / std) * std + mean
        return found


def run(config: ExportConfig, options: RunOptions) -> None:
    """Write `<model>.pt2` or `<model>.onnx` of every fitted model and tell how far they agree.

    Raises:
        UserError: No model, declared columns, an operation without a counterpart, a package that
            is not installed.
    """
    if not config.model:
        raise UserError("--model is missing: the folder of a saved forecaster, such as RUN/model")
    fitted = Forecaster.load(config.model, backbone=config.backbone or None).fitted
    assert fitted is not None
    if fitted.columns is not None:
        raise UserError(f"{config.model} sees declared columns, which graphs have no input for")
    folder = RunDirectory.create("forecast-export", config, options)
    example = _example(fitted.config.context, config.batch or SERIES)
    metrics: dict[str, float | int | None] = {}
    for name, model in fitted.models.items():
        whole = InUnits(model).eval()
        program = traced(name, whole, example, any_batch=config.batch is None)
        path = folder.path / f"{name}.{config.format}"
        if config.format == "pt2":
            content = io.BytesIO()
            torch.export.save(program, content)
            atomic_write(path, content.getvalue())
            found = torch.export.load(path).module()(*example).detach()
        else:
            atomic_write(path, to_onnx(name, program, example))
            found = _run_onnx(path, example)
        with torch.no_grad():
            wanted = whole(*example)
        metrics[f"forecast/{name}/export_max_abs"] = difference = float(
            (found - wanted).abs().max()
        )
        size = path.stat().st_size / 1e6
        _log.info("%s: %.1f MB, differs from the model by %.1e at most", path, size, difference)
    atomic_write(folder.path / "scales.json", json.dumps(_scales(fitted), indent=1) + "\n")
    folder.write_metrics(metrics)


def traced(
    name: str, model: InUnits, example: tuple[Tensor, ...], *, any_batch: bool
) -> torch.export.ExportedProgram:
    """The graph of a model.

    Args:
        name: For messages.
        model: In eval mode.
        example: Its inputs.
        any_batch: Leave the number of series open; else it is that of the example.

    Raises:
        UserError: A model that torch.export cannot take.
    """
    open_batch = {0: torch.export.Dim("batch", min=1, max=1 << 20)}
    shapes = {key: open_batch for key in INPUTS} if any_batch else None
    try:
        with torch.no_grad():
            return torch.export.export(model, example, dynamic_shapes=shapes)
    except torch._dynamo.exc.UserError as error:
        first = str(error).strip().split("\n")[0]
        advice = ": give --batch N, a number of series" if any_batch else ""
        raise UserError(f"torch.export cannot take {name}: {first}{advice}") from None


def to_onnx(name: str, program: torch.export.ExportedProgram, example: tuple[Tensor, ...]) -> bytes:
    """An ONNX file.

    Raises:
        UserError: An operation without a counterpart, a package that is not installed.
    """
    try:
        import onnxscript  # noqa: F401
    except ImportError:
        raise missing_package("onnxscript", "onnx") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the converter's own calls
            converted = torch.onnx.export(
                program, example, dynamo=True, verbose=False, input_names=list(INPUTS),
                output_names=["forecast"],
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        cause = str(error.__cause__ or error).strip().split("\n")[0]
        raise UserError(
            f"torch cannot convert {name} to ONNX ({cause}): use --format pt2"
        ) from None
    assert converted is not None
    content: bytes = converted.model_proto.SerializeToString()
    return content


def _run_onnx(path: Path, example: tuple[Tensor, ...]) -> Tensor:
    try:
        import onnxruntime
    except ImportError:
        raise missing_package("onnxruntime", "onnx") from None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    feed = {name: value.numpy() for name, value in zip(INPUTS, example, strict=True)}
    return torch.from_numpy(session.run(None, feed)[0])


def _example(context: int, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    """Random walks of different level and size."""
    random = np.random.default_rng(0)
    size = 10.0 ** (np.arange(batch) % 3)
    walk = size[:, None] * (5 + random.normal(size=(batch, context)).cumsum(1) / np.sqrt(context))
    mean, std = walk.mean(1), walk.std(1) + 1e-3
    x, mean32, std32 = (torch.from_numpy(part).float() for part in (walk[..., None], mean, std))
    return x, mean32, std32


def _scales(fitted: Fitted) -> dict[str, Any]:
    ids, scale = fitted.panel.ids.tolist(), fitted.scale
    return {
        str(series): {"mean": float(mean), "std": float(std)}
        for series, mean, std in zip(ids, scale.mean, scale.std, strict=True)
    }
