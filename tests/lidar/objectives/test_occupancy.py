import torch

from lidar.config import DecoderConfig, FieldConfig, TrendConfig
from lidar.field import SceneFeatures
from lidar.objectives.occupancy import OccupancyAlongRay
from lidar.objectives.targets import RayTargets
from lidar.rendering.lattice import Lattice

RANGE = [-8.0, -8.0, -2.0, 8.0, 8.0, 2.0]


def build(queries=60):
    config = TrendConfig(
        point_range=RANGE,
        field=FieldConfig(time_dim=4),
        decoder=DecoderConfig(
            type="occupancy",
            occupancy_queries=queries,
            occupancy_widths=[32, 32],
            occupancy_delta_m=0.5,
        ),
    )
    lattice = Lattice.build(
        "cell", RANGE, centre_m=[0.0, 0.0, 0.0], step_m=[2.0, 2.0, 1.0], shape_dhw=(4, 8, 8)
    )
    torch.manual_seed(0)
    return OccupancyAlongRay(config, 6, lattice=lattice, time=True)


def wall(rays=40):
    """Rays along +x that all end at 5 m."""
    return RayTargets(
        ray_o=torch.zeros(1, rays, 3),
        ray_d=torch.tensor([1.0, 0, 0]).expand(1, rays, 3),
        range_m=torch.full((1, rays), 5.0),
        intensity=torch.full((1, rays), 0.25),
        valid=torch.ones(1, rays, dtype=torch.bool),
        t_s=torch.zeros(1),
        frame=torch.zeros(1, dtype=torch.long),
        seed=torch.tensor([1]),
    )


def test_counts_three_queries_per_ray_without_repetition():
    targets = wall()
    assert build(60).counts(targets).tolist() == [60, 20]
    assert build(6000).counts(targets).tolist() == [120, 40]
    few = targets._replace(valid=torch.arange(40)[None] < 3)
    assert build(60).counts(few).tolist() == [9, 3]
    blind = targets._replace(intensity=torch.full((1, 40), torch.nan))
    assert build(60).counts(blind).tolist() == [60, 0]


def test_learns_a_wall():
    decoder, targets = build(120), wall()
    scene = SceneFeatures(torch.randn(1, 6, 4, 8, 8, generator=torch.Generator().manual_seed(0)))
    optimiser = torch.optim.Adam(decoder.parameters(), 1e-2)
    counts = decoder.counts(targets)
    for step in range(150):
        drawn = targets._replace(seed=torch.tensor([step]))
        report = decoder.frame_loss(scene, drawn, counts)
        optimiser.zero_grad()
        report.total.backward()
        optimiser.step()
    assert report.terms["occupancy_bce"] < 0.6
    out = decoder.render(scene, torch.zeros(1), targets.ray_o, targets.ray_d, intensity=True)
    assert (out.range_m - 5.0).abs().max() < 0.7
    assert (out.intensity - 0.25).abs().max() < 0.15
