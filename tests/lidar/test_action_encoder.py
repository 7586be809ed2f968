import math

import pytest
import torch

from lidar.action_encoder import ActionEncoder


def inputs_of(**options):
    """What f_act is given for dx = 2 m, dy = -1 m, 0.3 rad, 0.5 s."""
    encoder = ActionEncoder([3], time_scale=10.0, **options)
    given = []
    encoder.f_act.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    code = encoder(torch.tensor([[[2.0, -1.0, 0.3]]]), torch.tensor([[0.5]]))
    assert code.shape == (1, 1, 3)
    return given[0][0, 0]


def waves(value):
    """Eight sines, then eight cosines of value / 10000^(2 i / 16)."""
    angles = [value / 10000 ** (i / 8) for i in range(8)]
    return [*map(math.sin, angles), *map(math.cos, angles)]


TURN = [math.sin(0.3), math.cos(0.3)]


@pytest.mark.parametrize(
    ("code", "gap_time", "expected"),
    [
        ("none", False, [2.0, -1.0, *TURN]),
        ("none", True, [2.0, -1.0, *TURN, *waves(5.0)]),
        ("split16", False, [*waves(2.0), *waves(-1.0), *TURN]),
        ("split16", True, [*waves(2.0), *waves(-1.0), *TURN, *waves(5.0)]),
    ],
)
def test_what_f_act_is_given(code, gap_time, expected):
    torch.testing.assert_close(
        inputs_of(code=code, gap_time=gap_time), torch.tensor(expected), rtol=1e-5, atol=1e-6
    )
