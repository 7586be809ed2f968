"""Blocks outside `test_mixers` whose state is bounded: a million steps keep memory (T13)."""

import pytest
import torch

from foretell.blocks.cellwise import CellwiseMixer
from foretell.blocks.conv_recurrent import ConvRecurrence
from foretell.blocks.ngram import NgramHead
from foretell.blocks.recurrent import GRU

MANY, STEPS, PIECE, DIM = 1_000_000, 10_000, 1_024, 3
VOLUMES = {
    "conv": lambda: ConvRecurrence(2, DIM, norm="none"),
    "cellwise": lambda: CellwiseMixer(GRU(2, 2), DIM),
}


def start(block):
    return block.seed_state(torch.ones(1, 2, 2, 2, 2, dtype=next(block.parameters()).dtype))


def run_both_ways(constant_memory, forward, step, state, x, many, steps):
    """Pieces of x by `forward`, then its steps by `step`, `many` and `steps` in all."""
    constant_memory(lambda now: forward(x, now)[1], state, many // len(x[0]), warm=16)
    last = {}

    def loop(now):
        outputs = []
        for t in range(x.shape[1]):
            y_t, now = step(t, now)
            outputs.append(y_t)
        last["y"] = torch.stack(outputs, 1)
        return now

    times = -(-steps // x.shape[1])
    looped, expected = constant_memory(loop, state, times, warm=2), state
    for _ in range(times):
        y, expected = forward(x, expected)
    for one, other in zip((last["y"], *looped), (y, *expected), strict=True):
        if torch.is_tensor(one):
            torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.soak
@pytest.mark.parametrize("kind", VOLUMES)
@torch.no_grad()
def test_volumes(kind, constant_memory):
    torch.manual_seed(0)
    block = VOLUMES[kind]().double().eval()
    x = 0.1 * torch.randn(1, PIECE, DIM, dtype=torch.float64)
    run_both_ways(
        constant_memory,
        block,
        lambda t, now: block.step(x[:, t], now),
        start(block),
        x,
        MANY,
        STEPS,
    )


@pytest.mark.soak
@pytest.mark.parametrize("n", [1, 3])
@torch.no_grad()
def test_ngram_tables(n, constant_memory):
    torch.manual_seed(0)
    block = NgramHead(DIM, 5, n=n).double()
    x, ids = torch.randn(1, PIECE, DIM, dtype=torch.float64), torch.randint(5, (1, PIECE))
    run_both_ways(
        constant_memory,
        lambda rows, now: block(rows, now, ids=ids),
        lambda t, now: block.step(x[:, t], now, ids=ids[:, t]),
        block.init_state(1), x, MANY, STEPS,
    )  # fmt: skip
