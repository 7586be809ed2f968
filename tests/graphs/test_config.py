"""Configurations: what excludes what, round trips, presets as in their tables."""

import importlib.util
from pathlib import Path

import pytest

from foretell.config import from_dict, from_yaml, load_mapping, to_yaml
from foretell.errors import UserError
from graphs.config import TrainConfig
from graphs.model_config import FeatureConfig, ModelConfig, StructureConfig

ROOT = Path(__file__).resolve().parents[2]
spec = importlib.util.spec_from_file_location("presets", ROOT / "tools/make_graph_presets.py")
assert spec is not None and spec.loader is not None
presets = importlib.util.module_from_spec(spec)
spec.loader.exec_module(presets)
NAMES = [name for name, _, _ in presets.presets()]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"version": "h", "cell": "lstm"}}, "takes no summary"),
        ({"model": {"state": "carry", "context": 3}}, "context has no effect with state carry"),
        ({"model": {"state": "window", "tbptt": 3}}, "tbptt has no effect"),
        ({"model": {"version": "static", "cell": "gru"}}, "cell has no effect"),
        ({"model": {"mixer": {"kind": "gru"}}}, "mixer has no effect"),
        ({"model": {"version": "o", "mask": True}}, "mask has no effect"),
        ({"features": {"kind": "columns", "max_degree": 3}}, "max_degree has no effect"),
        ({"structure": {"embedding": False}}, "needs structure"),
        ({"structure": {"decays": [1.5]}}, r"lie in \[0, 1\]"),
        ({"task": "edge", "negatives": {"mult": 3}}, "negatives has no effect with task edge"),
        ({"task": "node", "eval": {"protocols": ["live"]}}, "fixed alone"),
        ({"trainer": {"devices": 2}}, "trainer.devices and num_nodes must be 1"),
        ({"trainer": {"accelerator": "gpu"}}, "accelerator must be cpu"),
        ({"negatives": {"balance": True}}, "balance needs kind uniform or strata"),
        ({"ibm_compat": True, "model": {"activation": "tanh"}}, "contradicts ibm_compat"),
        ({"ibm_compat": True, "model": {"cell": "lstm"}}, "contradicts ibm_compat"),
        ({"stop": {"negatives_share": 0.0}}, r"lie in \(0, 1\]"),
        ({"split": {"train_share": 0.9, "val_share": 0.1}}, "so that a test is left"),
        ({"model": {"verzion": "h"}}, "did you mean 'version'"),
    ],
)
def test_refused(values, message):
    with pytest.raises(UserError, match=message):
        from_dict(TrainConfig, values)


def test_ibm_compat_sets_what_the_released_code_does():
    config = TrainConfig(ibm_compat=True, model=ModelConfig(version="h"))
    model = config.model
    assert (model.cell, model.state, model.mask) == ("gru", "window", True)
    assert model.activation == model.last_activation == "rrelu"
    assert config.features == FeatureConfig(width="official")
    assert from_yaml(TrainConfig, to_yaml(config)) == config


def test_cells_of_the_paper():
    assert ModelConfig(version="o").resolved_cell == "lstm"
    assert ModelConfig(version="h").resolved_cell == "gru"


def test_names():
    assert TrainConfig(model=ModelConfig(version="h")).who == "evolvegcn_h"
    assert TrainConfig(model=ModelConfig(version="static")).who == "static_gcn"
    alone = StructureConfig(decays=[0.5], embedding=False)
    assert TrainConfig(structure=alone).who == "decoder_only"
    assert TrainConfig(task="edge").watched == "minority_f1"


@pytest.mark.parametrize("name", NAMES)
def test_presets_are_those_of_the_table(name):
    """Files are complete and up to date: python tools/make_graph_presets.py."""
    config = next(config for own, config, _ in presets.presets() if own == name)
    path = ROOT / "configs" / "graphs" / f"{name}.yaml"
    values = load_mapping(path.read_text(), place=name)
    assert from_dict(TrainConfig, values) == config
    assert set(values) >= {"task", "data", "split", "model", "head", "optim", "eval", "trainer"}


def test_all_presets_are_in_the_table():
    found = {path.stem for path in (ROOT / "configs" / "graphs").glob("*.yaml")}
    assert found == set(NAMES)
