from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lidar.config import (
    AblationConfig,
    DecoderConfig,
    EncoderConfig,
    EvalConfig,
    FieldConfig,
    RecConfig,
    RenderConfig,
    TrendConfig,
)
from lidar.data.evaluation_window import EvaluationWindow
from lidar.evaluation.batch_norm import recalibrate_batch_norm
from lidar.evaluation.model_predictor import ModelForecaster, shuffle_actions
from lidar.trend import Trend

TINY = TrendConfig(
    point_range=[-16.0, -16.0, -4.0, 16.0, 16.0, 4.0],
    voxel_size=[0.5, 0.5, 0.2],
    features=["x", "y", "z", "intensity"],
    encoder=EncoderConfig(channels=[4, 4, 8, 8], out_channels=8, blocks_per_stage=1),
    rec=RecConfig(f_act=[8, 4]),
    field=FieldConfig(f_geo=[8, 8], f_sdf=[8], f_dir=[4], f_int=[8]),
    render=RenderConfig(n_uniform=8, n_importance=4),
)


@pytest.fixture
def model() -> Trend:
    torch.manual_seed(0)
    return Trend(TINY).eval()


@pytest.fixture
def window(drive: Callable[..., Any], static_scene: Any, forward_pose: Any) -> EvaluationWindow:
    poses = [forward_pose(0, 0), forward_pose(2, 0.1), forward_pose(4, 0.2)]
    made = drive(static_scene, step_deg=4.0, poses=poses).window()
    return replace(made, action=np.array([[2, 0.1, 0.1]] * 2, np.float32))


def test_ranges_do_not_depend_on_the_chunk(model: Trend, window: EvaluationWindow) -> None:
    whole, chunked = (
        ModelForecaster(model, EvalConfig(chunk=chunk)).predictors()["model"].predict(window, 2)
        for chunk in (100_000, 101)
    )
    assert whole.range_m.shape == window.range_m[2].shape
    assert np.isfinite(whole.range_m).all()
    np.testing.assert_allclose(whole.range_m, chunked.range_m, rtol=1e-5)
    np.testing.assert_array_equal(whole.inside_volume, chunked.inside_volume)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"field": replace(TINY.field, implementation="naive")},
        {"field": replace(TINY.field, detail=["x_conv1", "x_conv2"])},
        {"field": replace(TINY.field, detail=["x_conv1"], implementation="naive")},
        {"decoder": DecoderConfig(type="occupancy")},
    ],
    ids=["fast", "naive", "detail", "naive_detail", "occupancy"],
)
def test_a_frame_without_rays_has_no_ranges(parts: Any, window: EvaluationWindow) -> None:
    nothing = np.zeros((0, 3), np.float32)
    empty = replace(window, direction=(*window.direction[:2], nothing))
    torch.manual_seed(0)
    model = ModelForecaster(Trend(replace(TINY, **parts)), EvalConfig()).predictors()["model"]
    assert model.predict(empty, 2).range_m.shape == (0,)
    assert model.predict(empty, 1).range_m.shape == window.range_m[1].shape


def test_the_encoder_runs_once_a_window(model: Trend, window: EvaluationWindow) -> None:
    calls = []
    hook = model.encoder.register_forward_hook(lambda *_: calls.append(1))
    forecaster = ModelForecaster(model, EvalConfig(), shuffled_action={window.name: window.action})
    for frame in (1, 2):
        for predictor in forecaster.predictors().values():
            predictor.predict(window, frame)
    assert len(calls) == 1
    forecaster.predictors()["model"].predict(replace(window, name="log/000001"), 1)
    assert len(calls) == 2
    hook.remove()


def test_interventions_change_what_they_name(model: Trend, window: EvaluationWindow) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    other = {window.name: np.array([[0.5, -1.0, -0.4]] * 2, np.float32)}
    forecaster = ModelForecaster(model, EvalConfig(), shuffled_action=other)
    found = {
        name: predictor.predict(window, 1).range_m
        for name, predictor in forecaster.predictors().items()
    }
    assert set(found) == {"model", "zero_action", "shuffled_action", "no_time"}
    for name in ("zero_action", "shuffled_action", "no_time"):
        assert np.abs(found[name] - found["model"]).max() > 0
    still = replace(window, action=np.zeros_like(window.action))
    again = ModelForecaster(model, EvalConfig()).predictors()["model"].predict(still, 1)
    np.testing.assert_array_equal(found["zero_action"], again.range_m)
    assert set(ModelForecaster(model, EvalConfig(interventions=False)).predictors()) == {"model"}
    with pytest.raises(ValueError, match="no action for window elsewhere"):
        forecaster.predictors()["shuffled_action"].predict(replace(window, name="elsewhere"), 1)


@pytest.mark.parametrize("told", ["zero", "shuffled"])
def test_a_model_retrained_without_the_action_is_asked_as_trained(
    window: EvaluationWindow, told: str
) -> None:
    torch.manual_seed(0)
    model = Trend(replace(TINY, rec=replace(TINY.rec, action=told))).eval()
    other = {window.name: np.array([[0.5, -1.0, -0.4]] * 2, np.float32)}
    forecaster = ModelForecaster(model, EvalConfig(), shuffled_action=other)
    found = forecaster.predictors()
    assert set(found) == {"model", "no_time"} | ({"zero_action"} if told == "shuffled" else set())
    given = found["model"].predict(window, 2).range_m
    moved = replace(window, action=-3 * window.action)  # the own action does not count
    blind = ModelForecaster(model, EvalConfig(), shuffled_action=other).predictors()["model"]
    np.testing.assert_array_equal(given, blind.predict(moved, 2).range_m)
    truth = replace(TINY.rec, action="true")
    plain = Trend(replace(TINY, rec=truth)).eval()
    plain.load_state_dict(model.state_dict())
    as_told = np.zeros_like(window.action) if told == "zero" else other[window.name]
    direct = ModelForecaster(plain, EvalConfig()).predictors()["model"]
    np.testing.assert_array_equal(given, direct.predict(replace(window, action=as_told), 2).range_m)
    if told == "shuffled":
        with pytest.raises(ValueError, match="no action for window"):
            ModelForecaster(model, EvalConfig()).predictors()["model"].predict(window, 1)


def test_a_model_of_the_current_frame_keeps_its_volume(window: EvaluationWindow) -> None:
    torch.manual_seed(0)
    model = Trend(replace(TINY, ablation=AblationConfig(level="nf"))).eval()
    forecaster = ModelForecaster(model, EvalConfig())
    assert set(forecaster.predictors()) == {"model"}
    first, second = forecaster.scenes(window, "trained")[1:]
    assert first is second
    ranges = forecaster.predictors()["model"].predict(window, 2).range_m
    assert np.isfinite(ranges).all()


def test_rays_beside_the_volume_are_flagged(model: Trend, window: EvaluationWindow) -> None:
    beside = replace(
        window,
        origin=tuple(np.array([0, 100, 0], np.float32) for _ in window.origin),
        direction=tuple(np.tile(np.float32([[1, 0, 0]]), (len(d), 1)) for d in window.direction),
    )
    forecast = ModelForecaster(model, EvalConfig()).predictors()["model"].predict(beside, 1)
    assert forecast.inside_volume is not None
    assert not forecast.inside_volume.any()
    assert np.isfinite(forecast.range_m).all()


def test_every_window_gets_the_action_of_another() -> None:
    actions = {f"log/{i}": np.full((2, 3), i, np.float32) for i in range(7)}
    shuffled = shuffle_actions(actions)
    assert shuffled.keys() == actions.keys()
    assert all(shuffled[name][0, 0] != actions[name][0, 0] for name in actions)
    assert sorted(a[0, 0] for a in shuffled.values()) == list(range(7))


def batch_norms(model: Trend) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]


def test_batch_norm_statistics_are_the_plain_average_of_the_windows(
    model: Trend, window: EvaluationWindow
) -> None:
    second = replace(window, points=window.points[::2], name="log/000001")
    stem = batch_norms(model)[0]
    seen: list[torch.Tensor] = []
    hook = stem.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    weights = {name: value.clone() for name, value in model.named_parameters()}
    stem.running_mean.fill_(100.0)
    assert recalibrate_batch_norm(model, [window, second]) == 2
    hook.remove()
    means = torch.stack([batch.mean(0) for batch in seen])
    torch.testing.assert_close(stem.running_mean, means.mean(0))
    first = {name: value.clone() for name, value in model.named_buffers()}
    stem.running_mean.fill_(-3.0)
    recalibrate_batch_norm(model, [window, second])
    for name, value in model.named_buffers():
        assert torch.equal(value, first[name]), name
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())
    assert not any(module.training for module in model.modules())
    assert all(norm.momentum is not None for norm in batch_norms(model))


def test_norms_that_no_window_reaches_keep_their_statistics(window: EvaluationWindow) -> None:
    torch.manual_seed(0)
    model = Trend(replace(TINY, ablation=AblationConfig(level="nf"))).eval()
    unreached = [norm for name, norm in model.named_modules() if "conv_out" in name]
    norms = [norm for norm in unreached if isinstance(norm, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.running_mean.fill_(7.0)
    recalibrate_batch_norm(model, [window])
    for norm in norms:
        assert norm.num_batches_tracked > 0 or bool((norm.running_mean == 7).all())


def test_recalibration_without_windows_raises(model: Trend) -> None:
    with pytest.raises(ValueError, match="there are none"):
        recalibrate_batch_norm(model, [])
