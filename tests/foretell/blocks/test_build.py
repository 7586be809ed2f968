"""Configurations of the sequence blocks: round trips, and the blocks they make."""

import subprocess
import sys
from typing import get_args

import pytest
import torch

from foretell.blocks.build import build_mixer
from foretell.blocks.config import Kind, LstmConfig, Mamba2Config, MixerConfig, RecurrentConfig
from foretell.blocks.recurrent import GRU, LSTM
from foretell.config import from_dict, from_yaml, to_dict, to_yaml
from foretell.errors import UserError

CHANGED = {
    "rnn": {"recurrent": {"hidden_dim": 5, "bidirectional": True}},
    "rnn_relu": {"recurrent": {"num_layers": 2}},
    "gru": {"recurrent": {"orthogonal_recurrent": True}},
    "lstm": {"lstm": {"hidden_dim": 7, "forget_bias": 1.0, "single_bias": True}},
    "lssl": {"lssl": {"state_dim": 8, "num_outputs": 2, "trainable": False}},
    "s4d": {"s4d": {"init": "legs", "state_dim": 8}},
    "mamba2": {"mamba2": {"state_dim": 8, "head_dim": 4, "window": 6}},
    "aaren": {"aaren": {"num_heads": 2, "feedforward_dim": 12}},
    "prefix_attention": {"prefix_attention": {"num_heads": 2, "feature_dim": 3, "head_dim": 5}},
    "titans": {"titans": {"memory_dim": 6, "chunk_size": 2, "conv_width": None}},
    "titans_mac": {"titans_mac": {"num_heads": 2, "segment_size": 3, "causal_guard": False}},
    "titans_mag": {"titans_window": {"window": 3, "hidden_dim": 5}},
    "titans_mal": {"titans_window": {"num_persistent": 0, "depth": 1}},
}


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_survives_dictionaries_and_yaml_and_runs(kind):
    config = from_dict(MixerConfig, {"kind": kind, **CHANGED[kind]})
    assert from_dict(MixerConfig, to_dict(config)) == config
    assert from_yaml(MixerConfig, to_yaml(config)) == config
    for chosen in (MixerConfig(kind=kind), config):
        block = build_mixer(chosen, 8)
        y, state = block(torch.randn(2, 5, 8))
        assert block.input_dim == 8 and y.shape == (2, 5, block.output_dim)
        assert state is not None


def test_options_reach_the_block():
    lstm = build_mixer(MixerConfig("lstm", lstm=LstmConfig(9, 2, single_bias=True)), 3)
    assert isinstance(lstm, LSTM) and lstm.output_dim == 9 and lstm.single_bias
    gru = build_mixer(MixerConfig("gru", recurrent=RecurrentConfig(4, bidirectional=True)), 3)
    assert isinstance(gru, GRU) and gru.output_dim == 8 and not gru.causal


def test_a_branch_that_is_not_selected_must_stay_as_it_is():
    with pytest.raises(ValueError, match="mamba2 has no effect with kind lstm"):
        MixerConfig("lstm", mamba2=Mamba2Config(state_dim=8))
    with pytest.raises(UserError, match="recurrent has no effect with kind lstm"):
        from_dict(MixerConfig, {"recurrent": {"hidden_dim": 5}})


def test_configurations_import_no_torch():
    script = "import sys, foretell.blocks.config; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_public_names_are_imported_when_used():
    import foretell.blocks

    assert set(dir(foretell.blocks)) == set(foretell.blocks.__all__) == set(foretell.blocks._HOME)
    for name in foretell.blocks.__all__:
        assert getattr(foretell.blocks, name).__name__ == name
    with pytest.raises(AttributeError, match="has no attribute 'Nope'"):
        _ = foretell.blocks.Nope
