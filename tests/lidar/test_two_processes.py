"""T23: the gradient that distributed training averages is that of the joint batch."""

import dataclasses

import pytest
import torch

from foretell.blocks.batch_norm import set_across_processes
from lidar.config import RecConfig, VolumeConfig
from lidar.data.batch import WindowBatch
from lidar.doctor import CONFIG, made_up_batch
from lidar.pretrain import unused_modules
from lidar.trend import Trend

SCRIPT = """
from torch.nn.parallel import DistributedDataParallel

class Losses(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model
    def forward(self, batch):
        return self.model.losses(batch).total

results = {}
for name, (model, batches) in given.items():
    distributed_model = DistributedDataParallel(Losses(model))
    total = distributed_model(batches[rank])
    total.backward()
    grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    results[name] = total.item(), grads, model.state_dict()
torch.save(results, kept)
"""
CASES = ("more_steps", "detached", "no_point", "conv_out", "no_ray")


def window(batch: WindowBatch, n: int) -> WindowBatch:
    """One window of a batch."""
    mine = batch.point_batch == n
    parts = {
        field.name: value[n : n + 1]
        for field in dataclasses.fields(batch)
        if isinstance(value := getattr(batch, field.name), torch.Tensor)
    }
    parts |= {"points": batch.points[mine], "point_batch": batch.point_batch[mine] * 0}
    return dataclasses.replace(batch, **parts)


def joint_batch(case: str) -> WindowBatch:
    """Two windows of 200 and 120 points, one and three steps ahead, with unequally many rays."""
    batch = made_up_batch()
    keep = torch.arange(400) < 320
    keep[:200] &= case != "no_point"
    valid = batch.ray_valid.clone()
    valid[0, :, 5:] = False
    valid[0] &= case != "no_ray"
    generator = torch.Generator().manual_seed(0)
    return dataclasses.replace(
        batch,
        points=batch.points[keep],
        point_batch=batch.point_batch[keep],
        t_s=torch.arange(4).mul(0.5).repeat(2, 1),
        t0_SE3_tn=torch.eye(4, dtype=torch.float64).repeat(2, 4, 1, 1),
        action=torch.randn(2, 3, 3, generator=generator),
        frame_index=torch.tensor([[0, 1], [0, 3]]),
        ray_valid=valid,
    )


def in_double(batch: WindowBatch) -> WindowBatch:
    """The same numbers in float64."""
    parts = {
        field.name: value.double()
        for field in dataclasses.fields(batch)
        if isinstance(value := getattr(batch, field.name), torch.Tensor)
        and value.is_floating_point()
    }
    return dataclasses.replace(batch, **parts)


def make_model(case: str) -> Trend:
    """The tiny model of the doctor with three horizons."""
    torch.manual_seed(0)
    config = dataclasses.replace(CONFIG, horizons_s=[0.5, 1.0, 1.5])
    if case == "detached":
        config = dataclasses.replace(config, rec=RecConfig(detach_intermediate=True))
    if case == "conv_out":
        config = dataclasses.replace(config, volume=VolumeConfig("conv_out"))
    return Trend(config).double()


@pytest.fixture(scope="module")
def answers(two_processes):
    given = {}
    for case in CASES:
        model, batch = make_model(case), in_double(joint_batch(case))
        set_across_processes(model, True)
        for module in unused_modules(model):
            module.requires_grad_(False)
        given[case] = model, [window(batch, n) for n in range(2)]
    return two_processes(SCRIPT, given)


@pytest.mark.parametrize("case", CASES)
def test_t23_live_norms_give_the_joint_batchs_gradient(answers, case):
    model, batch = make_model(case), in_double(joint_batch(case))
    total = model.losses(batch).total
    total.backward()
    (mine, grads, state), (theirs, other_grads, other_state) = (answer[case] for answer in answers)
    assert (mine + theirs) / 2 == pytest.approx(total.item(), rel=1e-10)
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert grads.keys() == expected.keys()
    for name, grad in expected.items():
        torch.testing.assert_close(grads[name], grad, rtol=1e-9, atol=1e-12, msg=name)
        assert torch.equal(grads[name], other_grads[name])
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(state[name], buffer, rtol=1e-10, atol=1e-12, msg=name)
        assert torch.equal(state[name], other_state[name])
