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
    from foretell.blocks.hippo import hippo_matrices
    from foretell.blocks.lssl import LSSL
    from foretell.blocks.mamba2 import Mamba2
    from foretell.blocks.mamba2_weights import LoadReport, load_mamba2_weights
    from foretell.blocks.matrix_cells import MatrixGRU, MatrixLSTM, summarise
    from foretell.blocks.ngram import NgramBlock, NgramHead, Quantiser
    from foretell.blocks.prefix_attention import PrefixLinearAttention
    from foretell.blocks.prefix_loss import check_prefix_loss, prefix_loss_mask
    from foretell.blocks.protocol import (
        SequenceMixer,
        cat_states,
        detach_state,
        index_state,
        state_numel,
        state_to,
    )
    from foretell.blocks.pruning import (
        apply_masks,
        gradual_percent,
        kept_masks,
        magnitude_masks,
        pruned_percent,
        remove_masks,
    )
    from foretell.blocks.random_graph import LayeredGraph, graph_from_edges, layered_graph
    from foretell.blocks.reber import encode_words, reber_words
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
    "LayeredGraph": "random_graph",
    "LoadReport": "mamba2_weights",
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
    "apply_masks": "pruning",
    "build_mixer": "build",
    "cat_states": "protocol",
    "check_prefix_loss": "prefix_loss",
    "detach_state": "protocol",
    "encode_words": "reber",
    "gradual_percent": "pruning",
    "graph_from_edges": "random_graph",
    "hippo_matrices": "hippo",
    "index_state": "protocol",
    "kept_masks": "pruning",
    "layered_graph": "random_graph",
    "load_mamba2_weights": "mamba2_weights",
    "magnitude_masks": "pruning",
    "prefix_loss_mask": "prefix_loss",
    "pruned_percent": "pruning",
    "reber_words": "reber",
    "remove_masks": "pruning",
    "reset_from_cu_seqlens": "segments",
    "state_numel": "protocol",
    "state_to": "protocol",
    "summarise": "matrix_cells",
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
    "LayeredGraph",
    "LoadReport",
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
    "apply_masks",
    "build_mixer",
    "cat_states",
    "check_prefix_loss",
    "detach_state",
    "encode_words",
    "gradual_percent",
    "graph_from_edges",
    "hippo_matrices",
    "index_state",
    "kept_masks",
    "layered_graph",
    "load_mamba2_weights",
    "magnitude_masks",
    "prefix_loss_mask",
    "pruned_percent",
    "reber_words",
    "remove_masks",
    "reset_from_cu_seqlens",
    "state_numel",
    "state_to",
    "summarise",
    "verify_scan",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'foretell.blocks' has no attribute {name!r}")
    return getattr(importlib.import_module(f"foretell.blocks.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
