"""Every family of blocks as one graph: torch.compile and torch.export of forward, export of step.

In a process of its own, since the shape checks of the tests break graphs. Left out are the blocks
that run torch's own recurrent layers: those stay outside a graph.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
SCRIPT = """
import sys

import torch
from mixer_cases import CASES, Stack, build, initial, inputs, same
from torch.utils import _pytree

class Step(torch.nn.Module):
    def __init__(self, block):
        super().__init__()
        self.block = block

    def forward(self, x_t, state):
        return self.block.step(x_t, state)

NEAR = {"rtol": 1e-5, "atol": 1e-5}
RESET = ("aaren", "aaren_block", "prefix_attention")
backend, *names = sys.argv[1:]
for case in (case for case in CASES if case.name in names):
    block = build(case, torch.float32)
    x, other = inputs(case, 3, 18, torch.float32), inputs(case, 7, 5, torch.float32)
    given = (x, initial(case, block, 3)) if case.needs_state else (x,)
    expected = block(*given)
    compiled = torch.compile(block, fullgraph=True, backend=backend, dynamic=False)
    same(compiled(*given), expected, NEAR)
    print(case.name)
    if backend != "eager":
        continue
    same(torch.export.export(block, given).module()(*given), expected, NEAR)
    if case.name == "prefix_attention":
        same(compiled(x, prefix_len=5), block(x, prefix_len=5), NEAR)
    if case.name in RESET:
        reset = torch.zeros(3, 18, dtype=torch.bool)
        reset[0, 3] = reset[2, 15] = True
        same(compiled(x, reset=reset), block(x, reset=reset), NEAR)
    rows = {0: torch.export.Dim("batch", min=2)}
    shapes = (rows, _pytree.tree_map(lambda _: rows, expected[1]))
    graph = torch.export.export(Step(block), (x[:, 0], expected[1]), dynamic_shapes=shapes)
    given = (other, initial(case, block, 7)) if case.needs_state else (other,)
    _, state = block(*given)
    same(graph.module()(other[:, 0], state), block.step(other[:, 0], state), NEAR)
"""
WHOLE = [
    "conv_gru",
    "conv_lstm",
    "conv_recurrence",
    "cellwise_mamba2",
    "matrix_gru",
    "matrix_lstm",
    "lssl",
    "s4d_lin",
    "ngram",
    "aaren",
    "aaren_block",
    "prefix_attention",
    "window_attention",
    "titans_chunk_4",
    "titans_deep",
    "titans_context",
    "titans_gate",
    "titans_layer",
]
FAMILIES = [
    "conv_gru",
    "matrix_lstm",
    "lssl",
    "s4d_lin",
    "ngram",
    "aaren",
    "mamba2",
    "prefix_attention",
    "titans_deep",
]


def one_graph(backend: str, name: str) -> None:
    path = os.pathsep.join([str(HERE), str(HERE.parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, backend, name],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [name]


@pytest.mark.slow
@pytest.mark.parametrize("name", WHOLE)
def test_one_graph(name):
    one_graph("eager", name)


@pytest.mark.soak
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch's compiler needs g++")
@pytest.mark.parametrize("name", FAMILIES)
def test_the_compiler_makes_a_kernel_of_a_family(name):
    one_graph("inductor", name)
