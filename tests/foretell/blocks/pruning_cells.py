"""torch's recurrent layers that the tests of pruning share."""

import torch
from torch import nn

CELLS = {
    "rnn": lambda **o: nn.RNN(3, 5, batch_first=True, **o),
    "relu": lambda **o: nn.RNN(3, 5, batch_first=True, nonlinearity="relu", **o),
    "gru": lambda **o: nn.GRU(3, 5, batch_first=True, **o),
    "lstm": lambda **o: nn.LSTM(3, 5, batch_first=True, **o),
    "projected": lambda **o: nn.LSTM(3, 5, batch_first=True, proj_size=2, **o),
}
LAYOUTS = [{}, {"num_layers": 2}, {"bidirectional": True}, {"num_layers": 2, "bidirectional": True}]


def build(cell, **options):
    torch.manual_seed(0)
    return CELLS[cell](**options)


def series(seed=0):
    return torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(seed))
