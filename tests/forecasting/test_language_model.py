"""Language models by folder: the first blocks alone, all weights or an error, no network."""

import json
import shutil
import socket
from pathlib import Path

import pytest
import torch
from tiny_models import FAMILIES, saved

from forecasting.backbone import FrozenModel, OneLayer, wrap
from forecasting.language_model import load_model, weights_digest, word_embeddings
from forecasting.s2ip_config import BackboneConfig
from foretell.errors import UserError

TOKENS = torch.randn(2, 9, 48, generator=torch.Generator().manual_seed(3))


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection is an error."""

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("family", FAMILIES)
def test_fewer_blocks_equal_a_cut_model(tmp_path: Path, family: str) -> None:
    whole = FAMILIES[family](3).eval()
    loaded = load_model(str(saved(tmp_path / family, family)), 2).eval()
    blocks = {"gpt2": "h", "bert": "encoder.layer", "llama": "layers"}[family]
    parent, _, name = blocks.rpartition(".")
    owner = whole.get_submodule(parent) if parent else whole
    setattr(owner, name, getattr(owner, name)[:2])
    whole.config.num_hidden_layers = 2
    with torch.no_grad():
        wanted = whole(inputs_embeds=TOKENS, use_cache=False).last_hidden_state
        found = loaded(inputs_embeds=TOKENS, use_cache=False).last_hidden_state
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert torch.equal(word_embeddings(loaded), whole.get_input_embeddings().weight)


def test_dropout_is_on_while_training(tmp_path: Path) -> None:
    blocks = wrap(load_model(str(saved(tmp_path)), 2), BackboneConfig(model="tiny"))
    assert all(module.training for module in blocks.modules())
    assert not torch.equal(blocks(TOKENS), blocks(TOKENS))  # GPT-2's own, 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_moves_norms_and_positions_alone(family: str) -> None:
    blocks = wrap(FAMILIES[family](), BackboneConfig(model="tiny")).train()
    before = {name: weight.clone() for name, weight in blocks.named_parameters()}
    optimizer = torch.optim.Adam([w for w in blocks.parameters() if w.requires_grad], lr=1e-2)
    blocks(TOKENS).square().mean().backward()
    optimizer.step()
    moved = {n for n, weight in blocks.named_parameters() if not torch.equal(weight, before[n])}
    assert moved and all("ln" in n or "norm" in n.lower() or "wpe" in n or "position" in n
                         for n in moved)  # fmt: skip
    assert any("position" in name or "wpe" in name for name in moved) == (family != "llama")
    assert set(blocks.state_dict()) == {
        name for name, weight in blocks.named_parameters() if weight.requires_grad
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_state_without_frozen_tensors_loads(family: str) -> None:
    one, two = (wrap(FAMILIES[family](), BackboneConfig(model="tiny")).eval() for _ in range(2))
    with torch.no_grad():
        for weight in one.parameters():
            if weight.requires_grad:
                weight += 0.1
    two.load_state_dict(one.state_dict())
    with torch.no_grad():
        assert torch.equal(one(TOKENS), two(TOKENS))
    assert not any("wte" in key or "attn" in key for key in one.state_dict())


def test_random_blocks_are_redrawn_by_their_seed() -> None:
    def drawn(seed: int) -> torch.Tensor:
        blocks = wrap(FAMILIES["gpt2"](), BackboneConfig(kind="random", model="t", seed=seed))
        with torch.no_grad():
            return blocks.eval()(TOKENS)

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))


def test_what_stands_in_its_place() -> None:
    model = FAMILIES["bert"]()
    assert isinstance(wrap(model, BackboneConfig(kind="none")), torch.nn.Identity)
    for kind, mlp in (("attention", False), ("block", True)):
        layer = wrap(model, BackboneConfig(kind=kind))
        assert isinstance(layer, OneLayer) and (layer.mlp is not None) == mlp
        assert layer(TOKENS).shape == TOKENS.shape
    silent = wrap(model, BackboneConfig(dropout=0.0))
    assert isinstance(silent, FrozenModel)
    assert {m.p for m in silent.modules() if isinstance(m, torch.nn.Dropout)} == {0.0}


def test_loading_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = str(saved(tmp_path / "bert", "bert", layers=3))
    capfd.readouterr()  # of writing it
    load_model(folder, 2)
    assert "".join(capfd.readouterr()) == ""


def test_missing_models_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no language model 'nobody/nothing'; tried: folder"):
        load_model("nobody/nothing", 2)
    with pytest.raises(UserError, match="backbone.model is missing"):
        load_model("", 2)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no model"):
        load_model(str(tmp_path / "empty"), 2)
    with pytest.raises(UserError, match="has 3 blocks, backbone.layers is 4"):
        load_model(str(saved(tmp_path / "gpt2")), 4)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "gpt2")
    other = saved(tmp_path / "bert", "bert")
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    with pytest.raises(UserError, match="do not belong to its config.json"):
        load_model(str(folder), 2)


def test_digest_follows_the_weights(tmp_path: Path) -> None:
    folder = saved(tmp_path / "gpt2")
    first = weights_digest(str(folder))
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(content))
    assert weights_digest(str(folder)) != first
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="has none of"):
        weights_digest(str(folder))
    assert json.loads((folder / "config.json").read_text())["model_type"] == "gpt2"
