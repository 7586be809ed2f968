"""The tree against prefixes one by one, with an operator that does not commute."""

import pytest
import torch

from foretell.blocks.scan.tree import associative_scan


@pytest.mark.parametrize("time", [0, 1, 2, 3, 4, 5, 8, 17, 64, 65])
def test_prefixes_of_matrix_products(time):
    generator = torch.Generator().manual_seed(time)
    steps = torch.randn(2, time, 3, 3, generator=generator, dtype=torch.float64) / 2
    (prefixes,) = associative_scan(lambda left, right: (left[0] @ right[0],), (steps,))
    assert prefixes.shape == steps.shape
    product = torch.eye(3, dtype=torch.float64)
    for t in range(time):
        product = product @ steps[:, t]
        torch.testing.assert_close(prefixes[:, t], product, atol=1e-12, rtol=0)


def test_few_combinations():
    calls = []

    def add(left, right):
        calls.append(left[0].shape[1])
        return (left[0] + right[0],)

    (prefixes,) = associative_scan(add, (torch.ones(1, 1000),))
    assert prefixes.tolist() == [[float(t) for t in range(1, 1001)]]
    assert len(calls) <= 20 and sum(calls) < 2 * 1000
