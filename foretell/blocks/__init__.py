"""Sequence blocks of all heads: state in, state out.

Every block is a `SequenceMixer`: `forward(x, state) -> (y, state)` in training and `step` in
streaming agree, rows may be ragged (`lengths`) and packed (`reset`). Names are imported when used.

Example:
    >>> import torch
    >>> from foretell.blocks import LSTM
    >>> block = LSTM(3, 8)
    >>> y, state = block(torch.randn(2, 10, 3), lengths=torch.tensor([10, 4]))
    >>> y_next, state = block.step(torch.randn(2, 3), state)
    >>> y.shape, y_next.shape
    (torch.Size([2, 10, 8]), torch.Size([2, 8]))
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from foretell.blocks.aaren import Aaren, AarenBlock
    from foretell.blocks.build import build_mixer
    from foretell.blocks.cellwise import CellwiseMixer
    from foretell.blocks.config import MixerConfig
    from foretell.blocks.conv_gated import ConvGRU, ConvLSTM
    from foretell.blocks.conv_recurrent import ConvRecurrence
    from foretell.blocks.lssl import LSSL
    from foretell.blocks.mamba2 import Mamba2
    from foretell.blocks.mamba2_weights import load_mamba2_weights
    from foretell.blocks.matrix_cells import MatrixGRU, MatrixLSTM
    from foretell.blocks.ngram import NgramBlock, NgramHead, Quantiser
    from foretell.blocks.prefix_attention import PrefixLinearAttention
    from foretell.blocks.prefix_loss import check_prefix_loss, prefix_loss_mask
    from foretell.blocks.protocol import SequenceMixer, detach_state, index_state
    from foretell.blocks.random_graph import layered_graph
    from foretell.blocks.recurrent import GRU, LSTM, RNN, ReluRNN
    from foretell.blocks.s4d import S4D
    from foretell.blocks.scan.verify import verify_scan
    from foretell.blocks.segments import reset_from_cu_seqlens
    from foretell.blocks.sparse_recurrent import SparseRecurrent
    from foretell.blocks.stack import LRCN, Stack, TimeDistributed
    from foretell.blocks.titans import TitansMemory
    from foretell.blocks.titans_blocks import MemoryAsGate, MemoryAsLayer
    from foretell.blocks.titans_context import MemoryAsContext
    from foretell.blocks.window_attention import SlidingWindowAttention

_HOME = {
    "Aaren": "aaren",
    "AarenBlock": "aaren",
    "CellwiseMixer": "cellwise",
    "ConvGRU": "conv_gated",
    "ConvLSTM": "conv_gated",
    "ConvRecurrence": "conv_recurrent",
    "GRU": "recurrent",
    "LRCN": "stack",
    "LSSL": "lssl",
    "LSTM": "recurrent",
    "Mamba2": "mamba2",
    "MatrixGRU": "matrix_cells",
    "MatrixLSTM": "matrix_cells",
    "MemoryAsContext": "titans_context",
    "MemoryAsGate": "titans_blocks",
    "MemoryAsLayer": "titans_blocks",
    "MixerConfig": "config",
    "NgramBlock": "ngram",
    "NgramHead": "ngram",
    "PrefixLinearAttention": "prefix_attention",
    "Quantiser": "ngram",
    "RNN": "recurrent",
    "ReluRNN": "recurrent",
    "S4D": "s4d",
    "SequenceMixer": "protocol",
    "SlidingWindowAttention": "window_attention",
    "SparseRecurrent": "sparse_recurrent",
    "Stack": "stack",
    "TimeDistributed": "stack",
    "TitansMemory": "titans",
    "build_mixer": "build",
    "check_prefix_loss": "prefix_loss",
    "detach_state": "protocol",
    "index_state": "protocol",
    "layered_graph": "random_graph",
    "load_mamba2_weights": "mamba2_weights",
    "prefix_loss_mask": "prefix_loss",
    "reset_from_cu_seqlens": "segments",
    "verify_scan": "scan.verify",
}

__all__ = [
    "GRU",
    "LRCN",
    "LSSL",
    "LSTM",
    "RNN",
    "S4D",
    "Aaren",
    "AarenBlock",
    "CellwiseMixer",
    "ConvGRU",
    "ConvLSTM",
    "ConvRecurrence",
    "Mamba2",
    "MatrixGRU",
    "MatrixLSTM",
    "MemoryAsContext",
    "MemoryAsGate",
    "MemoryAsLayer",
    "MixerConfig",
    "NgramBlock",
    "NgramHead",
    "PrefixLinearAttention",
    "Quantiser",
    "ReluRNN",
    "SequenceMixer",
    "SlidingWindowAttention",
    "SparseRecurrent",
    "Stack",
    "TimeDistributed",
    "TitansMemory",
    "build_mixer",
    "check_prefix_loss",
    "detach_state",
    "index_state",
    "layered_graph",
    "load_mamba2_weights",
    "prefix_loss_mask",
    "reset_from_cu_seqlens",
    "verify_scan",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'foretell.blocks' has no attribute {name!r}")
    return getattr(importlib.import_module(f"foretell.blocks.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
