"""Settings that would train nothing, or not what they name, are refused at once."""

import pytest

from foretell.config import from_dict, to_dict
from foretell.errors import UserError
from foretell.presets import preset_names, read_config
from lidar.config import (
    AblationConfig,
    CurriculumConfig,
    DataConfig,
    DecoderConfig,
    ForecastConfig,
    LossConfig,
    MaskConfig,
    PretrainConfig,
    RaysConfig,
    RecConfig,
    RenderConfig,
)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"rays": RaysConfig(only_masked=True), "mask": MaskConfig("none")}, "rays.only_masked"),
        ({"rays": RaysConfig(n=0)}, "rays.n must be at least 1"),
        ({"render": RenderConfig(n_uniform=1)}, "render.n_uniform 2"),
        ({"curriculum": CurriculumConfig(p=-0.5)}, "curriculum.p must lie in"),
        ({"curriculum": CurriculumConfig(p=2.0)}, "curriculum.p must lie in"),
        (
            {"rec": RecConfig(action="zero"), "ablation": AblationConfig("nf")},
            "rec.action zero has no effect with ablation.level nf",
        ),
        (
            {"loss": LossConfig(eikonal=0.1), "decoder": DecoderConfig(type="occupancy")},
            "loss.eikonal has no effect with decoder.type occupancy",
        ),
    ],
)
def test_settings_that_contradict_each_other(parts, message):
    with pytest.raises(ValueError, match=message):
        PretrainConfig(**parts)


def test_their_neighbours_are_fine():
    PretrainConfig(rays=RaysConfig(only_masked=True, n=1), render=RenderConfig(n_importance=0))
    PretrainConfig(rec=RecConfig(action="shuffled"), curriculum=CurriculumConfig(p=1.0))
    PretrainConfig(rec=RecConfig(action="shuffled"), data=DataConfig(batch_size=1))
    PretrainConfig(rec=RecConfig(residual=True), ablation=AblationConfig("nf"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rec": {"cell": "conv_gru", "residual": True}}, "rec: residual has no effect with cell "),
        ({"rec": {"cell": "conv_gru", "norm": "none"}}, "rec: norm has no effect with cell conv_g"),
        ({"rec": {"cell": "conv_gru", "f3d": "conv_bn_relu"}}, "rec: f3d .* or set cell conv$"),
        ({"decoder": {"occupancy_queries": 5}}, "decoder: occupancy_queries .* with type sdf"),
        ({"decoder": {"occupancy_widths": [8]}}, "decoder: occupancy_widths .* set type occupancy"),
        ({"data": {"sweep_stride": -1}}, "data: sweep_stride must be at least 1, got -1"),  # future
        ({"data": {"window_stride": 0}}, "data: window_stride must be at least 1, got 0"),
        ({"data": {"batch_size": 0}}, "data: batch_size must be at least 1, got 0"),
        ({"data": {"num_workers": -1}}, "data: num_workers must be at least 0, got -1"),
        ({"data": {"gap_tol": -0.1}}, "data: gap_tol must not be negative"),
        ({"data": {"frame_gap_s": 0}}, "data: .* frame_gap_s must be positive"),
        ({"encoder": {"channels": []}}, "encoder: channels needs four positive widths"),
        ({"field": {"f_geo": []}}, "field: f_geo needs at least one width"),
        ({"field": {"f_int": [0]}}, "field: widths of f_int must be positive"),
        ({"optim": {"lr": -1}}, "optim: lr must not be negative"),
        ({"render": {"inv_s_init": 0.5}}, r"render: inv_s_init must lie in \[1, 10000\], .* 0.5"),
        ({"render": {"inv_s_init": 2e4}}, "render: inv_s_init must lie in"),
        ({"render": {"far": 0.5}}, "render: far must exceed near 1, got 0.5"),
        ({"eval": {"max_rays": -1}}, "^eval: max_rays must be at least 0, got -1"),
        ({"eval": {"chunk": 0}}, "^eval: chunk must be at least 1, got 0"),
        ({"eval": {"max_windows": -1}}, "^eval: max_windows must be at least 0, got -1"),
        ({"eval": {"select_windows": 0}}, "^eval: select_windows must be at least 1, got 0"),
        ({"eval": {"recalibrate_windows": 0}}, "^eval: recalibrate_windows must be at least 1"),
        ({"eval": {"raycast_bins_deg": [0.2, 0]}}, r"^eval: raycast_bins_deg .* got \[0.2, 0"),
        ({"eval": {"raycast_bins_deg": [[0.2, 0.3, 0.4]]}}, "^eval: raycast_bins_deg needs"),
        ({"eval": {"horizons_s": [1.0, 0.5]}}, "^eval: horizons_s must be positive and ascending"),
        ({"eval": {"max_range_m": 0.5}}, "^eval: min_range_m .* got 1 and 0.5"),
        ({"render": {"near": -1}}, "^render: near and chunk must not be negative, got -1 and 0"),
        ({"render": {"chunk": -5}}, "^render: near and chunk must not be negative, got 1 and -5"),
        (
            {"curriculum": {"max_horizon": -3}},
            "^curriculum.max_horizon must not be negative, got -3",
        ),
        ({"aug": {"scale": 2}}, "^aug: rotation_rad .* scale must lie in .* got 0 and 2"),
        ({"rays": {"ego_box": [1, 2, 3]}}, "^rays: ego_box needs x_min x_max y_min y_max"),
        ({"rays": {"ego_box": [1, -1, 0, 2]}}, "^rays: ego_box needs x_min x_max y_min y_max"),
        ({"rec": {"f_act": []}}, "^rec: f_act needs at least one width"),
        ({"rec": {"f_act": [8, 0]}}, r"^rec: widths of f_act must be positive, got \[8, 0\]"),
        ({"loss": {"weights": [0, 0, 0]}}, "^loss.weights are all 0"),
        ({"rays": {"surprise_weight": 0.0}}, "rays.surprise_weight and rays.surprise_m must be"),
        ({"rays": {"ground_weight": 0.5}}, "^rays: ground_weight has no effect with ground_filter"),
        ({"data": {"num_sweeps": -1}}, "data: num_sweeps must be at least 1, or 0"),
    ],
)
def test_values_that_their_branch_does_not_use_or_allow(values, message):
    with pytest.raises(UserError, match=message):
        from_dict(PretrainConfig, values)


def test_a_negative_number_of_figures():
    with pytest.raises(UserError, match="^figures must be at least 0, got -1"):
        from_dict(ForecastConfig, {"figures": -1})


def test_values_of_the_chosen_branch_are_fine():
    from_dict(PretrainConfig, {"rays": {"ground_weight": 0.5, "ground_filter": False}})
    from_dict(PretrainConfig, {"decoder": {"type": "occupancy", "occupancy_queries": 5}})
    from_dict(PretrainConfig, {"rec": {"cell": "conv", "residual": True}})
    from_dict(PretrainConfig, {"rec": {"cell": "conv_gru"}, "ablation": {"level": "nf"}})


@pytest.mark.parametrize("name", [n for n in preset_names("lidar") if n.startswith("trend_")])
def test_every_preset_loads(name):
    values = read_config(name, "lidar")[0]
    assert from_dict(PretrainConfig, values).data.num_sweeps == values["data"]["num_sweeps"] > 0


@pytest.mark.parametrize(("kind", "num_sweeps"), [("nuscenes", 10), ("kitti", 1), ("folder", 1)])
def test_a_data_set_has_its_own_number_of_sweeps(kind, num_sweeps):
    config = from_dict(PretrainConfig, {"data": {"kind": kind}})
    assert config.data.num_sweeps == to_dict(config)["data"]["num_sweeps"] == num_sweeps
    given = from_dict(PretrainConfig, {"data": {"kind": kind, "num_sweeps": 3}})
    assert given.data.num_sweeps == DataConfig(kind, num_sweeps=3).num_sweeps == 3
