"""Configurations of the sequence blocks: round trips, and the blocks they make."""

import dataclasses
import inspect
import subprocess
import sys
from functools import reduce
from typing import get_args

import pytest
import torch

from foretell.blocks.aaren import AarenBlock
from foretell.blocks.build import build_mixer
from foretell.blocks.config import (
    AarenConfig,
    Kind,
    LsslConfig,
    LstmConfig,
    Mamba2Config,
    MixerConfig,
    PrefixAttentionConfig,
    RecurrentConfig,
    S4dConfig,
    ScanBackend,
    StackConfig,
    TitansConfig,
    TitansContextConfig,
    TitansWindowConfig,
)
from foretell.blocks.lssl import LSSL
from foretell.blocks.mamba2 import Mamba2
from foretell.blocks.prefix_attention import PrefixLinearAttention
from foretell.blocks.protocol import SequenceMixer
from foretell.blocks.recurrent import GRU, LSTM, RNN
from foretell.blocks.s4d import S4D
from foretell.blocks.scan import backends
from foretell.blocks.stack import Stack
from foretell.blocks.titans import TitansMemory
from foretell.blocks.titans_blocks import MemoryAsGate, MemoryAsLayer
from foretell.blocks.titans_context import MemoryAsContext
from foretell.command import parse
from foretell.config import from_dict, from_yaml, leaves, to_dict, to_yaml
from foretell.errors import UserError
from foretell.model_folder import load_config, save

CHANGED = {
    "rnn": {"recurrent": {"hidden_dim": 5, "bidirectional": True}},
    "rnn_relu": {"recurrent": {"num_layers": 2}},
    "gru": {"recurrent": {"orthogonal_recurrent": True, "single_bias": True}},
    "lstm": {"lstm": {"hidden_dim": 7, "forget_bias": 1.0, "single_bias": True}},
    "lssl": {"lssl": {"hippo": "legt", "legt_scale": 0.5, "alpha": 1.0, "dt_max": 0.2}},
    "s4d": {"s4d": {"init": "legs", "state_dim": 8, "dt_min": 1e-2, "block_size": 16}},
    "mamba2": {"mamba2": {"state_dim": 8, "head_dim": 4, "per_channel": True, "bias": True}},
    "aaren": {"aaren": {"num_heads": 2, "pre_norm": False, "scan_backend": "tree"}},
    "prefix_attention": {"prefix_attention": {"num_heads": 2, "feature_dim": 3, "head_dim": 5}},
    "titans": {"titans": {"memory_dim": 6, "output_dim": 5, "chunk_size": 2, "conv_width": None}},
    "titans_mac": {
        "titans_mac": {
            "num_heads": 2,
            "segment_size": 3,
            "causal_guard": False,
            "conv_width": None,
            "normalise": False,
        }
    },  # fmt: skip
    "titans_mag": {"titans_window": {"window": 3, "hidden_dim": 5, "silu": False}},
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


LAYERS = {"num_layers": 2, "norm": "rms", "dropout": 0.1, "feedforward_dim": 6}


@pytest.mark.parametrize("stack", [{}, LAYERS], ids=["alone", "stack"])
@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_kind_survives_flags_and_a_saved_model(kind, stack, tmp_path):
    config = from_dict(MixerConfig, {"kind": kind, **CHANGED[kind], "stack": stack})
    values = {path: reduce(getattr, path.split("."), config) for path, _ in leaves(MixerConfig)}
    flags = [f"--{path}={'none' if value is None else value}" for path, value in values.items()]
    assert parse("any", "verb", MixerConfig, flags)[0] == config
    save(torch.nn.Linear(1, 1), config, tmp_path, "# Card")
    assert load_config(MixerConfig, tmp_path) == config


@pytest.mark.parametrize("kind", get_args(Kind))
def test_several_layers_of_any_kind(kind):
    config = from_dict(MixerConfig, {"kind": kind, "stack": LAYERS | {"norm": "none"}})
    assert from_yaml(MixerConfig, to_yaml(config)) == config
    block = build_mixer(config, 8)
    assert isinstance(block, Stack) and len(block.mixers) == len(block.mlps) == 2
    assert block.dropout == 0.1 and block.mlps[0][1].out_features == 6
    assert {type(mixer) for mixer in block.mixers} == {type(build_mixer(MixerConfig(kind), 8))}
    y, state = block(torch.randn(2, 5, 8))
    assert block.input_dim == 8 and y.shape == (2, 5, block.output_dim) and len(state) == 2


def test_a_stack_without_layers_is_refused():
    with pytest.raises(UserError, match="norm has no effect without num_layers: drop it"):
        from_dict(MixerConfig, {"stack": {"norm": "rms"}})
    with pytest.raises(UserError, match="num_layers must be at least 1, got 0"):
        from_dict(MixerConfig, {"stack": {"num_layers": 0}})


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


BLOCKS = {
    RNN: RecurrentConfig,
    GRU: RecurrentConfig,
    LSTM: LstmConfig,
    LSSL: LsslConfig,
    S4D: S4dConfig,
    Mamba2: Mamba2Config,
    AarenBlock: AarenConfig,
    PrefixLinearAttention: PrefixAttentionConfig,
    TitansMemory: TitansConfig,
    MemoryAsContext: TitansContextConfig,
    MemoryAsGate: TitansWindowConfig,
    MemoryAsLayer: TitansWindowConfig,
    Stack: StackConfig,
}
IN_CODE_ALONE = {"self", "input_dim", "dim", "options", "scan_fn", "seed_dim", "readout_dim",
                 "mixers"}  # fmt: skip
IN_CONFIG_ALONE = {("num_layers", None)}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)
def test_a_configuration_has_the_options_and_defaults_of_its_block(block):
    parameters = {}
    for owner in reversed(block.__mro__[: block.__mro__.index(SequenceMixer)]):
        if "__init__" in vars(owner):
            parameters |= inspect.signature(owner.__init__).parameters
    options = {part.name: part.default for part in dataclasses.fields(BLOCKS[block])}
    missing = parameters.keys() - options.keys() - IN_CODE_ALONE
    assert missing == ({"output_dim"} if block is PrefixLinearAttention else set())
    for name, default in options.items() - IN_CONFIG_ALONE:
        own = parameters[name].default
        assert own in (inspect.Parameter.empty, default) and type(own) in (type, type(default))


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("gru", {"dropout": 0.2}, "dropout has no effect with num_layers 1"),
        ("lstm", {"dropout": 0.2}, "dropout has no effect with num_layers 1"),
        ("lssl", {"legt_scale": 0.5}, "legt_scale has no effect with hippo legs"),
        ("mamba2", {"norm_every": 8}, "norm_every has no effect without max_state_norm"),
        (
            "mamba2",
            {"max_state_norm": 1.0, "chunk_size": 8},
            "chunk_size has no effect with a norm at every step",
        ),
        (
            "mamba2",
            {"per_channel": True, "chunk_size": 8},
            "chunk_size has no effect with per_channel",
        ),
        (
            "mamba2",
            {"scan_backend": "tree", "chunk_size": 8},
            "chunk_size has no effect with scan_backend tree",
        ),
        ("titans", {"hidden_dim": 8}, "hidden_dim has no effect with depth 1"),
        ("titans_mac", {"depth": 1, "hidden_dim": 8}, "hidden_dim has no effect with depth 1"),
        ("titans_window", {"depth": 1, "hidden_dim": 8}, "hidden_dim has no effect with depth 1"),
    ],
)
def test_options_without_effect_are_refused(kind, options, message):
    branch = {"gru": "recurrent"}.get(kind, kind)
    chosen = {"titans_window": "titans_mag"}.get(kind, kind)
    with pytest.raises(UserError, match=rf"{message}: drop it"):
        from_dict(MixerConfig, {"kind": chosen, branch: options})


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("lssl", {"alpha": 1.5}, r"alpha must lie in \[0, 1\], got 1.5"),
        ("lssl", {"dt_min": 0.5}, r"dt_min must lie in \(0, dt_max\], got 0.5"),
        ("s4d", {"block_size": 5000}, r"block_size must lie in \[1, 4096\], got 5000"),
        (
            "mamba2",
            {"per_channel": True, "num_groups": 2, "head_dim": 4},
            "per_channel takes num_groups = 1",
        ),
        ("mamba2", {"window": 4, "scan_backend": "tree"}, "window excludes .* scan_backend"),
        ("titans", {"output_dim": 0}, "output_dim must be at least 1, got 0"),
        (
            "lstm",
            {"bidirectional": True, "recurrent_dropout": 0.1},
            "recurrent_dropout is for one direction",
        ),
    ],
)
def test_options_out_of_range_are_refused_when_the_block_is_made(kind, options, message):
    config = from_dict(MixerConfig, {"kind": kind, kind: options})
    with pytest.raises(ValueError, match=message):
        build_mixer(config, 8)


def test_scans_are_chosen_by_the_same_names():
    assert get_args(ScanBackend) == get_args(backends.ScanBackend)


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
