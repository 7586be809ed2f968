"""Mamba-2 is one graph for torch.compile and torch.export; apart, as shape checks break graphs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys

import torch
from torch import nn
from torch.utils import _pytree

from foretell.blocks.mamba2 import Mamba2

class Step(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x_t, state):
        return self.block.step(x_t, state)

options = {
    "plain": {},
    "window": {"window": 5},
    "norm": {"max_state_norm": 0.1, "norm_every": 4},
    "channel": {"per_channel": True},
}
for name in sys.argv[1:]:
    torch.manual_seed(0)
    block = Mamba2(4, 3, head_dim=2, **options[name]).eval()
    x, state, three = torch.randn(2, 9, 4), block.init_state(2), block.init_state(3)
    expected, _ = block(x, state)
    compiled = torch.compile(block, fullgraph=True, backend="eager", dynamic=False)
    torch.testing.assert_close(compiled(x, state)[0], expected)
    exported = torch.export.export(block, (x, state)).module()
    torch.testing.assert_close(exported(x, state)[0], expected)
    if name == "plain":
        reset = torch.tensor([[False] * 4 + [True] * 5, [True] * 2 + [False] * 7])
        torch.testing.assert_close(compiled(x, state, reset=reset), block(x, state, reset=reset))

    free = {0: torch.export.Dim.AUTO}
    shapes = (free, _pytree.tree_map(lambda tensor: free, state))
    given = (torch.randn(2, 4), state)
    exported = torch.export.export(Step(block), given, dynamic_shapes=shapes).module()
    x_t = torch.randn(3, 4)
    torch.testing.assert_close(exported(x_t, three)[0], block.step(x_t, three)[0])
    print(name)
"""


def one_graph(*names):
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *names],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == list(names)


def test_one_graph():
    one_graph("plain")


@pytest.mark.slow
def test_one_graph_with_each_option():
    one_graph("window", "norm", "channel")
