"""Batch norm over two processes equals one process with the joint batch."""

import pytest
import torch
from torch import nn

from foretell.blocks.batch_norm import (
    BatchNorm3d,
    JointBatchNorm,
    StepBatchNorm3d,
    alone,
    is_joint,
    set_across_processes,
)

EPS = 1e-5
# Volumes of each process: few and many, one and none; far from zero; momentum none = cumulative.
CASES = {
    "equal": ((2, 2), 0.0, 0.1),
    "unequal": ((1, 4), 0.0, 0.1),
    "cumulative": ((3, 2), 0.0, None),
    "first_empty": ((0, 3), 0.0, 0.1),
    "second_empty": ((2, 0), 0.0, 0.1),
    "far_from_zero": ((2, 3), 1e6, 0.1),
}
SHAPE = (4, 2, 3, 2)
SCRIPT = """
import copy
from foretell.blocks.batch_norm import BatchNorm3d, alone, is_joint, set_across_processes

results = {}
for name, (norm, batches) in given["cases"].items():
    set_across_processes(norm, True)
    outputs = []
    for x, weight in batches[rank]:
        x.requires_grad_()
        y = norm(x)
        (y * weight).sum().backward()
        outputs.append((y.detach(), x.grad))
    grads = [p.grad for p in norm.parameters()]
    results[name] = outputs, grads, norm.state_dict()

norm = given["half"]
set_across_processes(norm, True)
half = norm(torch.ones(1, 4, 1, 1, 1, dtype=torch.bfloat16))
results["half"] = half.dtype, norm.running_mean.dtype
results["no_value"] = norm(torch.ones(0, 4, 1, 1, 1)), copy.deepcopy(norm.state_dict())
if rank == 0:  # Nobody else calls: this must not wait.
    with alone(norm):
        assert not is_joint(norm)
        norm(torch.ones(2, 4, 1, 1, 1))
    assert is_joint(norm)
    norm.eval()
    assert not is_joint(norm)
    norm(torch.ones(1, 4, 1, 1, 1))
torch.save(results, kept)
"""


def make_norm(momentum):
    norm = BatchNorm3d(4, EPS, momentum).double()
    with torch.no_grad():
        norm.weight.copy_(torch.rand(4) + 0.5)
        norm.bias.copy_(torch.randn(4))
    return norm


@pytest.fixture(scope="module")
def cases():
    torch.manual_seed(0)
    made = {}
    for name, (sizes, shift, momentum) in CASES.items():
        batches = [
            [
                (
                    torch.randn(size, *SHAPE, dtype=torch.float64) * 3 + shift,
                    torch.randn(size, *SHAPE, dtype=torch.float64),
                )
                for _ in range(3)
            ]
            for size in sizes
        ]
        made[name] = make_norm(momentum), batches
    return made


@pytest.fixture(scope="module")
def answers(cases, two_processes):
    return two_processes(SCRIPT, {"cases": cases, "half": BatchNorm3d(4)})


@pytest.mark.parametrize("name", CASES)
def test_two_processes_equal_the_joint_batch(cases, answers, name):
    ours, batches = cases[name]
    norm = nn.BatchNorm3d(4, EPS, ours.momentum).double()
    norm.load_state_dict(ours.state_dict())
    assert list(norm.state_dict()) == list(ours.state_dict())
    tight = {"rtol": 1e-9, "atol": 1e-9} if name == "far_from_zero" else {"rtol": 0, "atol": 1e-12}
    for step, pairs in enumerate(zip(*batches, strict=True)):
        x = torch.cat([x for x, _ in pairs]).requires_grad_()
        y = norm(x)
        (y * torch.cat([weight for _, weight in pairs])).sum().backward()
        given = [answer[name][0][step] for answer in answers]
        torch.testing.assert_close(torch.cat([out for out, _ in given]), y.detach(), **tight)
        torch.testing.assert_close(torch.cat([grad for _, grad in given]), x.grad, **tight)
    for i, parameter in enumerate(norm.parameters()):
        summed = sum(answer[name][1][i] for answer in answers)
        torch.testing.assert_close(summed, parameter.grad, **tight)
    for answer in answers:
        state = answer[name][2]
        assert state["num_batches_tracked"] == 3
        for key in ("running_mean", "running_var"):
            torch.testing.assert_close(state[key], norm.state_dict()[key], **tight)
            assert torch.equal(state[key], answers[0][name][2][key])


def test_half_precision_keeps_full_statistics_and_no_value_changes_nothing(answers):
    for answer in answers:
        assert answer["half"] == (torch.bfloat16, torch.float32)
        output, state = answer["no_value"]
        assert output.shape == (0, 4, 1, 1, 1)
        assert state["num_batches_tracked"] == 1
        torch.testing.assert_close(state["running_mean"], torch.full((4,), 0.1))
        torch.testing.assert_close(state["running_var"], torch.full((4,), 0.9))


def test_without_other_processes_it_is_torchs():
    torch.manual_seed(0)
    ours, torchs = BatchNorm3d(4), nn.BatchNorm3d(4)
    set_across_processes(ours, True)
    assert not is_joint(ours)
    x = torch.randn(2, *SHAPE)
    assert torch.equal(ours(x), torchs(x))
    assert all(torch.equal(a, b) for a, b in zip(ours.buffers(), torchs.buffers(), strict=True))


def test_alone_restores_each_switch():
    model = nn.Sequential(BatchNorm3d(2), BatchNorm3d(2))
    model[1].across_processes = True
    with alone(model):
        norms = [m for m in model.modules() if isinstance(m, JointBatchNorm)]
        assert not any(norm.across_processes for norm in norms)
    assert [norm.across_processes for norm in model] == [False, True]


def test_step_norm_keeps_statistics_of_each_step() -> None:
    torch.manual_seed(0)
    norm = StepBatchNorm3d(2, 2).double()
    first, second = torch.randn(4, 2, 2, 3, 3).double(), 5 + 3 * torch.randn(4, 2, 2, 3, 3).double()
    zero, one = torch.zeros(4, dtype=torch.long), torch.ones(4, dtype=torch.long)
    for _ in range(200):
        norm(first, zero)
        norm(second, one)
    norm.eval()
    for values, position in ((first, zero), (second, one), (second, one + 5)):
        y = norm(values, position)
        assert y.mean().abs() < 1e-6
        assert (y.var(correction=0) - 1).abs() < 0.05
    mixed = norm(torch.cat([first[:2], second[:2]]), torch.tensor([0, 0, 1, 1]))
    torch.testing.assert_close(mixed[:2], norm(first[:2], zero[:2]))
    torch.testing.assert_close(mixed[2:], norm(second[:2], one[:2]))


def test_step_norm_trains_like_one_shared_norm() -> None:
    torch.manual_seed(0)
    ours, shared = StepBatchNorm3d(2, 3).double(), torch.nn.BatchNorm3d(2).double()
    x = torch.randn(3, 2, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    results = []
    for apply in (lambda v: ours(v, torch.full((3,), 2)), shared):
        y = apply(x)
        results.append((y, *torch.autograd.grad(y.pow(3).sum(), x)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)
