"""From a configuration to a sequence block."""

import dataclasses
from typing import Any

from foretell.blocks.aaren import AarenBlock
from foretell.blocks.config import MixerConfig
from foretell.blocks.lssl import LSSL
from foretell.blocks.mamba2 import Mamba2
from foretell.blocks.prefix_attention import PrefixLinearAttention
from foretell.blocks.protocol import SequenceMixer
from foretell.blocks.recurrent import GRU, LSTM, RNN, ReluRNN
from foretell.blocks.s4d import S4D
from foretell.blocks.stack import Stack
from foretell.blocks.titans import TitansMemory
from foretell.blocks.titans_blocks import MemoryAsGate, MemoryAsLayer
from foretell.blocks.titans_context import MemoryAsContext


def build_mixer(config: MixerConfig, input_dim: int) -> SequenceMixer:
    """The block that a configuration names, or a stack of such blocks.

    Args:
        config: Kind and options.
        input_dim: Width of x.

    Raises:
        ValueError: Sizes that do not fit, such as heads that do not divide the width.

    Example:
        >>> build_mixer(MixerConfig(kind="gru"), 8).output_dim
        64
    """
    block = _build_one(config, input_dim)
    if config.stack.num_layers is None:
        return block
    layers = [block]
    while len(layers) < config.stack.num_layers:
        layers.append(_build_one(config, layers[-1].output_dim))
    options = _options(config.stack)
    del options["num_layers"]
    return Stack(layers, **options)


def _build_one(config: MixerConfig, input_dim: int) -> SequenceMixer:
    match config.kind:
        case "rnn":
            return RNN(input_dim, **_options(config.recurrent))
        case "rnn_relu":
            return ReluRNN(input_dim, **_options(config.recurrent))
        case "gru":
            return GRU(input_dim, **_options(config.recurrent))
        case "lstm":
            return LSTM(input_dim, **_options(config.lstm))
        case "lssl":
            return LSSL(input_dim, **_options(config.lssl))
        case "s4d":
            return S4D(input_dim, **_options(config.s4d))
        case "mamba2":
            return Mamba2(input_dim, **_options(config.mamba2))
        case "aaren":
            return AarenBlock(input_dim, **_options(config.aaren))
        case "prefix_attention":
            return PrefixLinearAttention(input_dim, **_options(config.prefix_attention))
        case "titans":
            return TitansMemory(input_dim, **_options(config.titans))
        case "titans_mac":
            return MemoryAsContext(input_dim, **_options(config.titans_mac))
        case "titans_mag":
            return MemoryAsGate(input_dim, **_options(config.titans_window))
        case "titans_mal":
            return MemoryAsLayer(input_dim, **_options(config.titans_window))


def _options(config: Any) -> dict[str, Any]:
    return {part.name: getattr(config, part.name) for part in dataclasses.fields(config)}
