"""`foretell forecast prepare`: a GGUF file as a plain folder of transformers, offline.

The folder (bfloat16 safetensors, config.json, tokenizer) loads in seconds, and its first blocks
alone can be loaded. What quantising has lost stays lost.
"""

import contextlib
import hashlib
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from forecasting.gguf_file import WHOLE, find_gguf, open_gguf, read_tensors, tensor_kinds
from forecasting.language_model import import_transformers
from forecasting.s2ip_config import PrepareConfig
from foretell.config import RunOptions
from foretell.errors import UserError
from foretell.run import RunDirectory

_log = logging.getLogger(__name__)


def run(config: PrepareConfig, options: RunOptions) -> None:
    """Write OUT/model, for `backbone.model`.

    Raises:
        UserError: See `find_gguf` and `write_plain`.
    """
    source = find_gguf(config.gguf)
    target = RunDirectory(options.out).model
    kinds = write_plain(source, target)
    RunDirectory.create("forecast-prepare", config, options)
    _log.info("%s\nbackbone.model: %s", lossy_line(source, kinds), target)


def write_plain(source: Path, target: Path) -> Counter[str]:
    """Convert a file into a folder that is there whole or not at all.

    Args:
        source: GGUF file of architecture llama.
        target: Folder to make.

    Returns:
        How many tensors of each GGUF type the file has.

    Raises:
        UserError: The target exists, a damaged or unknown file, a full disk.
    """
    if target.exists():
        raise UserError(f"{target} exists and is not overwritten: choose another --out")
    reader = open_gguf(source)
    kinds = tensor_kinds(reader)
    config, tokenizer = _described(source)
    tensors = {
        name: torch.from_numpy(values).bfloat16()
        for name, values in read_tensors(
            reader, heads=config.num_attention_heads, key_heads=config.num_key_value_heads
        )
    }
    _check(tensors, config, source)
    from safetensors.torch import save_file

    with _renamed_folder(target) as folder:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "README.md").write_text(_card(source, kinds))
    return kinds


def lossy_line(source: Path, kinds: Mapping[str, int]) -> str:
    """What the copy has lost, in one line."""
    lost = [name for name in kinds if name not in WHOLE]
    if not lost:
        return f"{source.name} is not quantised; the copy is rounded to bfloat16"
    return (
        f"{source.name} is quantised ({', '.join(lost)}): the copy is lossy, name it so in results"
    )


def _described(source: Path) -> tuple[Any, Any]:
    """Configuration and tokenizer, which transformers reads from the file's header."""
    transformers = import_transformers()
    options: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    try:
        config = transformers.AutoConfig.from_pretrained(source.parent, **options)
        tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, **options)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(
            f"transformers cannot read {source}: {str(error).splitlines()[0]}"
        ) from None
    config.architectures, config.dtype = ["LlamaForCausalLM"], "bfloat16"
    return config, tokenizer


def _check(tensors: Mapping[str, Tensor], config: Any, source: Path) -> None:
    """Every weight of the model is there, in its shape, and nothing else."""
    with torch.device("meta"):
        model = import_transformers().AutoModelForCausalLM.from_config(config)
    wanted = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    if config.tie_word_embeddings:
        del wanted["lm_head.weight"]
    found = {name: tuple(values.shape) for name, values in tensors.items()}
    wrong = sorted(dict(wanted.items() ^ found.items()))
    if wrong:
        raise UserError(
            f"{len(wrong)} tensors of {source} do not fit its own header, such as {wrong[0]}"
        )


@contextlib.contextmanager
def _renamed_folder(target: Path) -> Iterator[Path]:
    """A folder beside `target` that takes its name when the block ends without error."""
    from safetensors import SafetensorError

    temporary: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        yield temporary
        for path in (temporary, *temporary.iterdir()):  # made for their owner alone
            path.chmod(0o755 if path.is_dir() else 0o644)
        temporary.rename(target)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"cannot write {target}: {getattr(error, 'strerror', None) or error}; free space or "
            "choose another --out"
        ) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _card(source: Path, kinds: Counter[str]) -> str:
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    types = ", ".join(f"{count} tensors {name}" for name, count in kinds.most_common())
    return f"# From {source.name}\n\n{lossy_line(source, kinds)}.\n\n{types}; sha256 {digest}\n"
