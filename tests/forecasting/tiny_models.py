"""Language models of a few thousand weights, without files or network."""

from pathlib import Path
from typing import Any

import torch


def tiny_gpt2(layers: int = 2, seed: int = 0) -> Any:
    """48 wide, 256 words."""
    from transformers import GPT2Config, GPT2Model

    config = GPT2Config(vocab_size=256, n_positions=128, n_embd=48, n_layer=layers, n_head=4)
    return _drawn(GPT2Model, config, seed)


def tiny_bert(layers: int = 2, seed: int = 0) -> Any:
    """48 wide, 256 words."""
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=256, hidden_size=48, num_hidden_layers=layers, num_attention_heads=4,
        intermediate_size=96, max_position_embeddings=128,
    )  # fmt: skip
    return _drawn(BertModel, config, seed)


def tiny_llama(layers: int = 2, seed: int = 0) -> Any:
    """48 wide, 256 words."""
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=256, hidden_size=48, num_hidden_layers=layers, num_attention_heads=4,
        num_key_value_heads=2, intermediate_size=96, max_position_embeddings=128,
    )  # fmt: skip
    return _drawn(LlamaModel, config, seed)


FAMILIES = {"gpt2": tiny_gpt2, "bert": tiny_bert, "llama": tiny_llama}


def saved(folder: Path, family: str = "gpt2", layers: int = 3) -> Path:
    """A folder in transformers' layout."""
    FAMILIES[family](layers).save_pretrained(folder)
    return folder


def _drawn(kind: Any, config: Any, seed: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(config)
