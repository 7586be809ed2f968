"""Blocks as one graph: torch.compile of forward, torch.export of forward and of step.

In a process of its own, since the shape checks of the tests break graphs.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
import torch
from foretell.blocks.aaren import Aaren, AarenBlock
from foretell.blocks.prefix_attention import PrefixLinearAttention
from foretell.blocks.titans import TitansMemory
from foretell.blocks.titans_blocks import MemoryAsGate, MemoryAsLayer
from foretell.blocks.titans_context import MemoryAsContext
from torch.utils import _pytree

class Step(torch.nn.Module):
    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x_t, state):
        return self.block.step(x_t, state)

torch.manual_seed(0)
blocks = {
    "aaren": Aaren(4, 2),
    "aaren_block": AarenBlock(4, 2),
    "prefix_attention": PrefixLinearAttention(4, 2, feature_dim=3),
    "titans": TitansMemory(4, depth=2, hidden_dim=6, chunk_size=16),
    "titans_context": MemoryAsContext(4, 2, segment_size=16),
    "titans_gate": MemoryAsGate(4, 2, window=8),
    "titans_layer": MemoryAsLayer(4, 2, window=8),
}
block = blocks[sys.argv[1]].eval()
x, other = torch.randn(3, 40, 4), torch.randn(7, 5, 4)
compiled = torch.compile(block, fullgraph=True, backend="eager", dynamic=False)
torch.testing.assert_close(compiled(x), block(x))
if sys.argv[1] == "prefix_attention":
    torch.testing.assert_close(compiled(x, prefix_len=5), block(x, prefix_len=5))
torch.testing.assert_close(torch.export.export(block, (x,)).module()(x), block(x))
if sys.argv[1] in ("aaren", "aaren_block", "prefix_attention"):
    reset = torch.zeros(3, 40, dtype=torch.bool)
    reset[0, 3] = reset[2, 20] = True
    torch.testing.assert_close(compiled(x, reset=reset), block(x, reset=reset))

_, state = block(x)
rows = {0: torch.export.Dim("batch", min=2)}
shapes = (rows, _pytree.tree_map(lambda _: rows, state))
exported = torch.export.export(Step(block), (x[:, 0], state), dynamic_shapes=shapes).module()
_, state = block(other)
torch.testing.assert_close(exported(other[:, 0], state), block.step(other[:, 0], state))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "aaren",
        "aaren_block",
        "prefix_attention",
        "titans",
        "titans_context",
        "titans_gate",
        "titans_layer",
    ],
)
def test_one_graph(name):
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, name],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
