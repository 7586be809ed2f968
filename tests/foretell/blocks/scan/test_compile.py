"""Every fast form is one graph for torch.compile; apart, since shape checks break graphs."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import torch
from foretell.blocks.scan import chunked, fft, softmax

torch.manual_seed(0)
x, B = torch.randn(2, 11, 4, 3), torch.randn(2, 11, 2, 5)
log_a, h0 = -torch.rand(2, 11, 4), torch.randn(2, 4, 3, 5)
m, u, w = torch.randn(2, 4), torch.rand(2, 4) + 0.1, torch.randn(2, 4, 3)
cases = {
    "ssd": (chunked.ssd, (x, log_a, B, B.cos(), h0), {"chunk_size": 4}),
    "window": (chunked.ssd, (x, log_a, B, B.cos(), h0), {"window": 7, "chunk_size": 4}),
    "linear": (chunked.linear_scan, (log_a, log_a.cos(), m), {}),
    "linear tree": (chunked.linear_scan_tree, (log_a, log_a.cos(), m), {}),
    "softmax": (softmax.softmax_scan, (log_a, x, (m, u, w)), {"chunk_size": 4}),
    "softmax tree": (softmax.softmax_scan_tree, (log_a, x, (m, u, w)), {}),
    "fft": (fft.fft_conv, (torch.randn(4, 2, 11), log_a), {}),
}
for name, (scan, arguments, options) in cases.items():
    compiled = torch.compile(scan, fullgraph=True, backend="eager", dynamic=False)
    torch.testing.assert_close(compiled(*arguments, **options), scan(*arguments, **options))
    print(name)
"""


def test_fullgraph():
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 7
