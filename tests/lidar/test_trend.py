import dataclasses

import pytest
import torch

from lidar.config import (
    AblationConfig,
    DecoderConfig,
    EncoderConfig,
    FieldConfig,
    LossConfig,
    PretrainConfig,
    RecConfig,
    RenderConfig,
    TrendConfig,
    VolumeConfig,
)
from lidar.data.batch import WindowBatch
from lidar.field import SceneFeatures
from lidar.trend import Trend, needs_gap_time

CONFIG = TrendConfig(
    point_range=[-8.0, -8.0, -2.0, 8.0, 8.0, 2.0],
    voxel_size=[0.5, 0.5, 0.1],
    features=["x", "y", "z", "intensity"],
    horizons_s=[0.5, 1.0],
    encoder=EncoderConfig(channels=[4, 4, 8, 8], out_channels=8, blocks_per_stage=1),
    field=FieldConfig(f_geo=[16, 16], f_sdf=[16], time_dim=8, f_int=[16], f_dir=[4, 4]),
    render=RenderConfig(n_uniform=8, n_importance=4),
)
DETAIL = dataclasses.replace(CONFIG.field, detail=["x_conv1", "x_conv3"])
DECODERS = {
    "sdf": DecoderConfig(),
    "occupancy": DecoderConfig("occupancy", occupancy_queries=48, occupancy_widths=[16, 16]),
}


def model(**parts):
    torch.manual_seed(0)
    return Trend(dataclasses.replace(CONFIG, **parts))


def make_batch(rays=24, *, seed=0, supervised=2):
    generator = torch.Generator().manual_seed(seed)

    def draw(*size):
        return torch.randn(*size, generator=generator)

    batch = 2
    direction = torch.nn.functional.normalize(
        draw(batch, supervised, rays, 3) * torch.tensor([1, 1, 0.1]), dim=-1
    )
    ranges = 2 + 4 * torch.rand(batch, supervised, rays, generator=generator)
    points = draw(400, 4) * torch.tensor([3.0, 3.0, 0.5, 1.0])
    return WindowBatch(
        points=points,
        point_batch=torch.arange(2).repeat_interleave(200),
        t_s=torch.tensor([[0.0, 0.5, 1.0]]).repeat(2, 1),
        t0_SE3_tn=torch.eye(4, dtype=torch.float64).expand(2, 3, 4, 4).contiguous(),
        action=draw(2, 2, 3),
        frame_index=torch.tensor([[0, 1], [0, 2]])[:, :supervised],
        ray_o=torch.zeros(batch, supervised, rays, 3),
        ray_d=direction,
        ray_r=ranges,
        ray_i=torch.rand(batch, supervised, rays, generator=generator),
        ray_valid=torch.ones(batch, supervised, rays, dtype=torch.bool),
        seed=torch.tensor([3, 4]),
        kept={},
        names=("log/0", "log/1"),
    )


def gradients(network, batch):
    network.zero_grad()
    report = network.losses(batch)
    report.total.backward()
    return report, {
        name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None
    }


@pytest.mark.parametrize("implementation", ["fast", "naive"])
@pytest.mark.parametrize("field", [CONFIG.field, DETAIL], ids=["plain", "detail"])
def test_t17_chunks_and_checkpoint_change_nothing(field, implementation):
    batch = make_batch()
    field = dataclasses.replace(field, implementation=implementation)
    results = []
    for chunk, checkpoint in ((0, False), (14, False), (4, True), (0, True)):
        render = dataclasses.replace(CONFIG.render, chunk=chunk, checkpoint=checkpoint)
        results.append(gradients(model(field=field, render=render), batch))
    (whole, expected), *others = results
    for report, grads in others:
        torch.testing.assert_close(report.total, whole.total, rtol=1e-5, atol=0)
        for name, term in whole.terms.items():
            torch.testing.assert_close(report.terms[name], term, rtol=1e-5, atol=1e-6)
        assert grads.keys() == expected.keys()
        for name, grad in grads.items():
            # A bias before batch norm has gradient zero up to rounding: hence the floor.
            assert (grad - expected[name]).norm() <= 1e-5 * expected[name].norm() + 1e-6, name


@pytest.mark.parametrize("field", [CONFIG.field, DETAIL], ids=["plain", "detail"])
def test_fast_and_naive_models_agree(field):
    batch = make_batch()
    fields = [dataclasses.replace(field, implementation=i) for i in ("fast", "naive")]
    (fast, fast_grads), (naive, naive_grads) = (
        gradients(model(field=field), batch) for field in fields
    )
    torch.testing.assert_close(fast.total, naive.total, rtol=1e-5, atol=0)
    for name, grad in naive_grads.items():
        assert (fast_grads[name] - grad).norm() <= 1e-3 * grad.norm() + 1e-6, name


def test_detail_sharpens_every_frame_and_leaves_the_volumes_alone():
    """The same fine features at t0 and later; the encoder's and rolled volumes do not change."""
    batch = make_batch()
    plain, fine = model().eval(), model(field=DETAIL).eval()
    assert fine.decoder.field.f_geo[0].in_features == 3 + 8 + 8 + 4 + 8
    scene = fine.encode(batch.points, batch.point_batch, 2)
    strides = [(41, 32, 32), (11, 8, 8)]
    assert [stage.shape for stage in scene.detail] == strides
    gaps = batch.t_s.diff(dim=1)
    later = fine.roll_out(scene, batch.action, gaps)
    assert all(frame.detail is scene.detail for frame in later)
    other = plain.roll_out(plain.encode(batch.points, batch.point_batch, 2), batch.action, gaps)
    for one, two in zip(later, other, strict=True):
        assert torch.equal(one.volume, two.volume)
    rays = batch.t_s[:, 1], batch.ray_o[:, 0], batch.ray_d[:, 0]
    seen = fine.render(later[1], *rays).range_m
    emptied = tuple(stage.with_feats(stage.feats * 0) for stage in scene.detail)
    assert not torch.equal(seen, fine.render(later[1]._replace(detail=emptied), *rays).range_m)


def test_occupancy_decoder_refuses_detail():
    refused = pytest.raises(ValueError, match=r"field.detail has no effect with decoder.type occ")
    with refused:
        model(field=DETAIL, decoder=DECODERS["occupancy"])
    with refused:
        PretrainConfig(field=DETAIL, decoder=DECODERS["occupancy"])
    with pytest.raises(ValueError, match="detail names a stage twice"):
        FieldConfig(detail=["x_conv1", "x_conv1"])


def test_a_scene_encoded_under_autocast_is_rendered_outside():
    batch, network = make_batch(), model(field=DETAIL).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scene = network.encode(batch.points, batch.point_batch, 2)
    assert scene.detail[0].feats.dtype == torch.bfloat16
    rays = batch.t_s[:, 0], batch.ray_o[:, 0], batch.ray_d[:, 0]
    rough, exact = (
        network.render(features, *rays).range_m
        for features in (scene, network.encode(batch.points, batch.point_batch, 2))
    )
    assert (rough - exact).abs().max() < 0.5


def test_t7_one_recurrence_and_untouched_first_volume():
    batch, full = make_batch(), model().eval()
    current = model(ablation=AblationConfig("nf")).eval()
    assert sum(1 for m in full.modules() if type(m).__name__ == "ConvRecurrence") == 1
    scene = full.encode(batch.points, batch.point_batch, 2)
    scenes = full.roll_out(scene, batch.action, batch.t_s.diff(dim=1))
    assert len(scenes) == 3 and scenes[0] is scene
    assert torch.equal(scene.volume, current.encode(batch.points, batch.point_batch, 2).volume)
    assert current.roll_out(scene, batch.action[:, :0], batch.t_s[:, :0]) == [scene]
    with pytest.raises(ValueError, match="nf has no recurrence"):
        current.roll_out(scene, batch.action, batch.t_s.diff(dim=1))


@pytest.mark.parametrize("source", ["x_conv4", "conv_out"])
def test_gradient_reaches_every_used_parameter(source):
    network = model(volume=VolumeConfig(source))
    _, grads = gradients(network, make_batch())
    missing = {name for name, _ in network.named_parameters()} - grads.keys()
    assert all(name.startswith("encoder.conv_out") for name in missing)
    assert bool(missing) == (source == "x_conv4")
    assert all(grad.isfinite().all() for grad in grads.values())
    assert grads["recurrence.conv1.weight"].abs().sum() > 0
    assert grads["action_encoder.f_act.0.weight"].abs().sum() > 0


@pytest.mark.parametrize("decoder", ["sdf", "occupancy"])
@pytest.mark.parametrize("case", ["no_ray", "no_point", "one_ray", "all_outside"])
def test_t18_degenerate_inputs_are_finite_and_counted(decoder, case):
    batch = make_batch(rays=1 if case == "one_ray" else 24)
    if case == "no_ray":
        valid = batch.ray_valid.clone()
        valid[:, 1] = False
        nothing = torch.full_like(batch.ray_r[:, 1], torch.nan)
        ray_r = torch.stack([batch.ray_r[:, 0], nothing], dim=1)
        batch = dataclasses.replace(batch, ray_valid=valid, ray_r=ray_r)
    if case == "no_point":
        batch = dataclasses.replace(
            batch, points=batch.points[:0], point_batch=batch.point_batch[:0]
        )
    if case == "all_outside":
        batch = dataclasses.replace(batch, ray_o=batch.ray_o + 1000.0)
    network = model(decoder=DECODERS[decoder])
    report, grads = gradients(network, batch)
    assert report.total.isfinite() and all(g.isfinite().all() for g in grads.values())
    if case == "no_ray":
        assert report.terms["frames_without_ray"] == 2
        assert all(v == 0 for k, v in report.terms.items() if k.startswith("tm_"))
    if case == "all_outside" and decoder == "sdf":
        assert report.total == 0
    out = network.eval().render(
        network.encode(batch.points, batch.point_batch, 2),
        batch.t_s[:, 0],
        batch.ray_o[:, 0],
        batch.ray_d[:, 0],
        intensity=True,
    )
    assert out.range_m.isfinite().all() and out.intensity.isfinite().all()
    assert out.hits_volume.any() != (case == "all_outside")


SWITCHES = {
    "loss.intensity": ({"loss": LossConfig(intensity=False)}, {"loss"}),
    "loss.surface": ({"loss": LossConfig(surface=False)}, {"loss"}),
    "rec.action": ({"rec": RecConfig(action="zero")}, {"loss", "tm"}),
    "rec.residual": ({"rec": RecConfig(residual=True)}, {"loss", "tm"}),
    "loss.weights": ({"loss": LossConfig(weights=[2.0, 0.1, 0.1])}, {"loss"}),
}


@pytest.mark.parametrize("name", SWITCHES)
def test_t21_switch_changes_only_what_it_names(name):
    parts, changes = SWITCHES[name]
    batch = make_batch()
    base, switched = model(), model(**parts)
    assert all(
        torch.equal(a, b)
        for a, b in zip(base.state_dict().values(), switched.state_dict().values(), strict=True)
    )
    before, after = base.losses(batch).terms, switched.losses(batch).terms
    for term, value in before.items():
        same = torch.equal(value, after[term])
        if term.split("_")[0] not in changes:
            assert same, term
    assert any(not torch.equal(value, after[term]) for term, value in before.items())


def test_t21_decoder_type_changes_only_the_decoder():
    batch, (sdf, occupancy) = make_batch(), [model(decoder=d).eval() for d in DECODERS.values()]
    one, other = (
        {name: value for name, value in network.state_dict().items() if name[:8] != "decoder."}
        for network in (sdf, occupancy)
    )
    assert one.keys() == other.keys() and "recurrence.conv1.weight" in one
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    scenes = (
        network.roll_out(
            network.encode(batch.points, batch.point_batch, 2), batch.action, batch.t_s.diff(dim=1)
        )
        for network in (sdf, occupancy)
    )
    assert all(torch.equal(a.volume, b.volume) for a, b in zip(*scenes, strict=True))


@pytest.mark.parametrize("level", ["scratch", "nf", "rec", "full"])
def test_t21_ablation_levels(level):
    network, recurrent = model(ablation=AblationConfig(level)), level in ("rec", "full")
    names = {name.split(".")[0] for name, _ in network.named_parameters()}
    assert ("recurrence" in names) == recurrent
    assert network.decoder.field.time_dim == (8 if level == "full" else 0)
    report, _ = gradients(network, make_batch(supervised=1 + recurrent))
    assert ("tm_range_l1" in report.terms) == recurrent


def test_the_told_action_of_a_window_does_not_depend_on_its_batch():
    """`rec.action` shuffled is a matter of the samples: the model takes what it is told."""
    batch = make_batch()
    shuffled, plain = model(rec=RecConfig(action="shuffled")), model()
    assert torch.equal(shuffled.losses(batch).total, plain.losses(batch).total)


@pytest.mark.parametrize("far", [None, 30.0])
def test_both_decoders_end_a_ray_beside_the_volume_alike(far):
    """Where it is nearest to the box's centre (0, 0, 0), at least `near`; or at `render.far`."""
    origin = torch.tensor([[[-20.0, 9.0, 0], [20.0, 9.0, 0], [-20.0, 0, 0]]]).repeat(2, 1, 1)
    direction = torch.tensor([1.0, 0, 0]).expand_as(origin)
    render = dataclasses.replace(CONFIG.render, far=far)
    for decoder in DECODERS.values():
        network = model(decoder=decoder, render=render).eval()
        empty = network.encode(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 2)
        out = network.render(empty, torch.zeros(2), origin, direction)
        assert out.hits_volume.tolist() == [[False, False, True]] * 2
        torch.testing.assert_close(
            out.range_m[:, :2], torch.tensor([[far or 20.0, far or 1.0]] * 2)
        )
        assert (out.range_m[:, 2] <= (far or 28.0)).all()


def test_field_time_off_ignores_time():
    batch = make_batch()
    network = model(field=dataclasses.replace(CONFIG.field, time=False)).eval()
    scene = network.encode(batch.points, batch.point_batch, 2)
    rays = batch.ray_o[:, 0], batch.ray_d[:, 0]
    early = network.render(scene, torch.zeros(2), *rays)
    late = network.render(scene, torch.ones(2), *rays)
    assert torch.equal(early.range_m, late.range_m)
    timed = model().eval()
    one, other = (timed.render(scene, torch.full((2,), t), *rays) for t in (0.0, 1.0))
    assert not torch.equal(one.range_m, other.range_m)
    hidden = [timed.render(scene, torch.full((2,), t), *rays, field_time=False) for t in (0.0, 1.0)]
    assert torch.equal(hidden[0].range_m, hidden[1].range_m)


def test_detach_intermediate_cuts_the_gradient():
    batch = make_batch()
    for detach in (False, True):
        network = model(rec=RecConfig(detach_intermediate=detach))
        volume = network.encode(batch.points, batch.point_batch, 2).volume.detach().requires_grad_()
        rolled = network.roll_out(SceneFeatures(volume), batch.action, batch.t_s.diff(dim=1))
        (grad,) = torch.autograd.grad(rolled[-1].volume.sum(), volume, allow_unused=True)
        assert (grad is None) == detach


def test_actions_in_t0_axes():
    network = model(rec=RecConfig(action_frame="sensor_t0"))
    poses = torch.eye(4, dtype=torch.float64).repeat(1, 2, 1, 1)
    turn = torch.tensor(0.3, dtype=torch.float64)
    poses[0, 1, :2, :2] = torch.tensor([[turn.cos(), -turn.sin()], [turn.sin(), turn.cos()]])
    poses[0, 1, :2, 3] = torch.tensor([2.0, -1.0])
    action = network.frame_actions(torch.zeros(1, 1, 3), poses)
    torch.testing.assert_close(action, torch.tensor([[[2.0, -1.0, 0.3]]]))


def test_gap_time_only_when_gaps_differ():
    assert not needs_gap_time(CONFIG)
    assert needs_gap_time(dataclasses.replace(CONFIG, horizons_s=[0.5, 1.5]))
    assert needs_gap_time(dataclasses.replace(CONFIG, rec=RecConfig(gap_time="on")))


def test_optional_terms_are_off_by_default_and_finite():
    batch = make_batch()
    plain = model().losses(batch)
    terms = LossConfig(eikonal=0.1, free_space=0.1, line_of_sight=0.1)
    report, grads = gradients(model(loss=terms), batch)
    assert plain.terms["t0_eikonal"] == 0
    assert report.terms["t0_eikonal"] > 0 and report.terms["t0_line_of_sight"] > 0
    assert all(grad.isfinite().all() for grad in grads.values())


def test_missing_intensity_is_left_out():
    batch = make_batch()
    half = batch.ray_i.clone()
    half[..., ::2] = torch.nan
    report, grads = gradients(model(), dataclasses.replace(batch, ray_i=half))
    assert report.total.isfinite() and all(g.isfinite().all() for g in grads.values())


def test_render_is_deterministic_and_independent_of_chunk():
    batch, network = make_batch(), model().eval()
    scene = network.encode(batch.points, batch.point_batch, 2)
    rays = batch.ray_o[:, 0], batch.ray_d[:, 0]
    whole = network.render(scene, batch.t_s[:, 0], *rays, intensity=True)
    parts = network.render(scene, batch.t_s[:, 0], *rays, intensity=True, chunk=5)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    assert ((whole.intensity >= 0) & (whole.intensity <= 1)).all()


CELLS = ["conv", "conv_gru", "mamba2", "aaren"]


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_starts_from_the_volume_and_lets_gradient_cross_its_steps(cell):
    batch, network = make_batch(), model(rec=RecConfig(cell=cell))
    volume = network.encode(batch.points, batch.point_batch, 2).volume.detach().requires_grad_()
    scenes = network.roll_out(SceneFeatures(volume), batch.action, batch.t_s.diff(dim=1))
    assert scenes[0].volume is volume
    assert [scene.volume.shape for scene in scenes] == [volume.shape] * 3
    (grad,) = torch.autograd.grad(scenes[2].volume.square().sum(), volume)
    assert torch.isfinite(grad).all() and grad.abs().sum() > 0
    turned = network.roll_out(scenes[0], batch.action.neg(), batch.t_s.diff(dim=1))
    assert not torch.equal(turned[1].volume, scenes[1].volume)


@pytest.mark.parametrize("cell", CELLS)
def test_losses_fall(cell):
    network, batch = model(rec=RecConfig(cell=cell)), make_batch()
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    first = network.losses(batch).total.item()
    for _ in range(15):
        loss = network.losses(batch).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.6 * first


@pytest.mark.parametrize("decoder", ["sdf", "occupancy"])
def test_saved_model_answers_the_same(tmp_path, decoder):
    batch = make_batch()
    network = model(decoder=DECODERS[decoder]).eval()
    network.save_pretrained(tmp_path)
    again = Trend.from_pretrained(tmp_path)
    assert again.config == network.config
    assert torch.equal(network.losses(batch).total, again.losses(batch).total)
