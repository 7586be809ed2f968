"""The pretrained model as a predictor, with test-time interventions on action and time.

The window is encoded once (unmasked input, eval mode) and rolled out once per action; the rays of a
frame are rendered in chunks. Interventions tell how sensitive one saved model is; what action and
time buy is told only by models retrained without them. Those are asked as they were trained:
`rec.action` shuffled means the action of another window here, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from lidar.config import EvalConfig
from lidar.data.evaluation_window import EvaluationWindow
from lidar.data.window_dataset import actions_between, poses_in_t0
from lidar.data.windows import Window
from lidar.evaluation.forecast import ForecastRanges, Predictor
from lidar.field import SceneFeatures
from lidar.trend import Trend

Action = Literal["trained", "zero", "shuffled"]
"""As in training (`rec.action`), or an intervention."""


class ModelForecaster:
    """Forecasts of one saved model; caches the features of the window at hand.

    Args:
        model: The pretrained model; put into eval mode.
        config: `eval` of the configuration.
        shuffled_action: Window name -> action of another window in the axes of `rec.action_frame`,
            see `shuffle_actions`; none = no predictor `shuffled_action`. A model of `rec.action`
            shuffled needs it.
    """

    def __init__(
        self,
        model: Trend,
        config: EvalConfig,
        *,
        shuffled_action: Mapping[str, Float[ndarray, "horizons 3"]] | None = None,
    ) -> None:
        self.model = model.eval()
        self.config = config
        self.shuffled_action = shuffled_action
        self._window: EvaluationWindow | None = None
        self._encoded: SceneFeatures | None = None
        self._scenes: dict[Action, list[SceneFeatures]] = {}

    def predictors(self) -> dict[str, Predictor]:
        """`model`, and with `eval.interventions` those that its recurrence and field can feel.

        What a model was trained with is no intervention: the row would repeat `model`.
        """
        found: dict[str, Predictor] = {"model": ModelPredictor(self)}
        config = self.model.config
        if self.config.interventions and config.ablation.recurrent:
            if config.rec.action != "zero":
                found["zero_action"] = ModelPredictor(self, action="zero")
            if config.rec.action == "true" and self.shuffled_action is not None:
                found["shuffled_action"] = ModelPredictor(self, action="shuffled")
            if config.ablation.level == "full" and config.field.time:
                found["no_time"] = ModelPredictor(self, field_time=False)
        return found

    def scenes(self, window: EvaluationWindow, action: Action) -> list[SceneFeatures]:
        """Features of all frames of a window, element 0 = the encoder's."""
        if self._window is not window:
            self._window, self._encoded, self._scenes = window, None, {}
        if action not in self._scenes:
            if self._encoded is None:
                self._encoded = encode_window(self.model, window)
            self._scenes[action] = roll_out_window(
                self.model, self._encoded, window, self._action(window, action)
            )
        return self._scenes[action]

    def _action(
        self, window: EvaluationWindow, action: Action
    ) -> Float[ndarray, "horizons 3"] | None:
        if action == "trained" and self.model.config.rec.action == "shuffled":
            action = "shuffled"
        match action:
            case "trained":
                return None
            case "zero":
                return np.zeros_like(window.action)
            case "shuffled":
                if self.shuffled_action is None or window.name not in self.shuffled_action:
                    raise ValueError(f"shuffled_action has no action for window {window.name}")
                return self.shuffled_action[window.name]


@dataclass(frozen=True)
class ModelPredictor:
    """One way of asking the model."""

    forecaster: ModelForecaster
    action: Action = "trained"
    """What the recurrence is told of the ego motion."""
    field_time: bool = True
    """Whether the field is told the time."""

    @torch.no_grad()
    def predict(self, window: EvaluationWindow, frame: int) -> ForecastRanges:
        """Rendered ranges; rays that miss the volume are flagged and get their far end."""
        scene = self.forecaster.scenes(window, self.action)[frame]
        volume = scene.volume
        model = self.forecaster.model
        direction = _tensor(window.direction[frame], volume)[None]
        # A model of the current frame alone has learnt no other time than t0.
        static = not model.config.ablation.recurrent
        rendered = model.render(
            scene,
            _tensor(window.t_s[:1] if static else window.t_s[frame : frame + 1], volume),
            _tensor(window.origin[frame], volume).expand_as(direction),
            direction,
            intensity=False,
            field_time=self.field_time,
            chunk=self.forecaster.config.chunk,
        )
        return ForecastRanges(
            rendered.range_m[0].double().cpu().numpy(), rendered.hits_volume[0].cpu().numpy()
        )


def shuffle_actions(
    actions: Mapping[str, Float[ndarray, "horizons 3"]], *, seed: int = 0
) -> dict[str, Float[ndarray, "horizons 3"]]:
    """Give every window the action of another one: a random cycle through all windows."""
    names = sorted(actions)
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    return {name: actions[order[i - 1]] for i, name in enumerate(order)}


def shuffled_actions(
    model: Trend, windows: Sequence[Window]
) -> dict[str, Float[ndarray, "horizons 3"]]:
    """For every window the action of another one, in the axes the model was trained with."""
    return shuffle_actions({window.name: told_action(model, window) for window in windows})


def told_action(model: Trend, window: Window) -> Float[ndarray, "horizons 3"]:
    """The ego motion of a window in the axes the model was trained with."""
    poses = poses_in_t0(window)
    action = torch.from_numpy(actions_between(poses, window.log.sensor))[None]
    told: ndarray = model.frame_actions(action, torch.from_numpy(poses)[None])[0].numpy()
    return told


@torch.no_grad()
def encode_window(model: Trend, window: EvaluationWindow) -> SceneFeatures:
    """Features of the window's unmasked input."""
    device = next(model.parameters()).device
    points = torch.from_numpy(window.points).to(device)
    return model.encode(points, torch.zeros(len(points), dtype=torch.long, device=device), 1)


@torch.no_grad()
def roll_out_window(
    model: Trend,
    scene: SceneFeatures,
    window: EvaluationWindow,
    action: Float[ndarray, "horizons 3"] | None = None,
) -> list[SceneFeatures]:
    """Features of frames 0..l; a model of the current frame alone keeps its one volume.

    Args:
        model: The model.
        scene: Its features at t0.
        window: Gives the times and the true action.
        action: Replaces the true action, in the axes of `rec.action_frame`.
    """
    if not model.config.ablation.recurrent:
        return [scene] * len(window.t_s)
    volume = scene.volume
    if action is None:
        poses = torch.from_numpy(window.t0_SE3_tn)[None].to(volume.device)
        told = model.frame_actions(_tensor(window.action, volume)[None], poses)
    else:
        told = _tensor(action, volume)[None]
    return model.roll_out(scene, told, _tensor(np.diff(window.t_s), volume)[None])


def _tensor(array: ndarray, like: Tensor) -> Tensor:
    return torch.as_tensor(np.asarray(array), dtype=torch.float32, device=like.device)
