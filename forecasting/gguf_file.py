"""Language models in GGUF, llama.cpp's file format: tensors under transformers' names.

Names and the order of rotary rows are those of architecture `llama` (SmolLM2, Llama, TinyLlama);
another architecture is refused. Quantised tensors come out as what quantising left of them.
"""

import re
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from forecasting.language_model import GGUF_PACKAGES
from foretell.errors import UserError, missing_package

WHOLE = ("F64", "F32", "F16", "BF16")
"""Types of tensors that are not quantised."""
OUTSIDE = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
}  # fmt: skip
IN_BLOCK = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}  # fmt: skip


def find_gguf(name: str) -> Path:
    """The GGUF file of a package, of a folder that has one, or the path itself.

    Raises:
        UserError: No such package, path or file; a folder with none or several.
    """
    if name in GGUF_PACKAGES and not Path(name).exists():
        spec = find_spec(GGUF_PACKAGES[name])  # importing the package would need what runs it
        if spec is None or spec.origin is None:
            raise UserError(
                f"the package {name} is not installed: `make weights`, or give --gguf a file"
            )
        place = Path(spec.origin).parent
    else:
        place = Path(name).expanduser()
    if place.is_file():
        return place
    if not place.is_dir():
        raise UserError(
            f"no GGUF file {place}: --gguf is a file, a folder with one, or a package "
            f"({', '.join(GGUF_PACKAGES)})"
        )
    found = sorted(place.glob("*.gguf"))
    if len(found) != 1:
        listed = f": {', '.join(path.name for path in found)}; name one" if found else ""
        raise UserError(f"{place} has {len(found)} .gguf files, one is needed{listed}")
    return found[0]


def open_gguf(path: Path) -> Any:
    """The package's reader of a file of architecture llama.

    Raises:
        UserError: No gguf package, no whole GGUF file, another architecture.
    """
    try:
        from gguf import GGUFReader
    except ImportError:
        raise missing_package("gguf", "forecasting") from None
    try:
        reader = GGUFReader(str(path))
        architecture = reader.fields["general.architecture"].contents()
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise UserError(f"{path} is no whole GGUF file: {error}") from None
    if architecture != "llama":
        raise UserError(f"{path} is of architecture {architecture}; llama alone is read")
    return reader


def tensor_kinds(reader: Any) -> Counter[str]:
    """How many tensors of each GGUF type, such as Q4_1."""
    return Counter(tensor.tensor_type.name for tensor in reader.tensors)


def read_tensors(
    reader: Any, *, heads: int, key_heads: int
) -> Iterator[tuple[str, Float[np.ndarray, "..."]]]:
    """Names of transformers with float32 values, one tensor at a time.

    Args:
        reader: Of `open_gguf`.
        heads: Of the queries.
        key_heads: Of the keys.

    Raises:
        UserError: A tensor that the architecture does not have.
    """
    from gguf import dequantize

    for tensor in reader.tensors:
        name = hub_name(tensor.name)
        values = np.array(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        if ".q_proj." in name:
            values = halves_from_pairs(values, heads)
        elif ".k_proj." in name:
            values = halves_from_pairs(values, key_heads)
        yield name, values


def hub_name(name: str) -> str:
    """Such as model.layers.3.self_attn.q_proj.weight of blk.3.attn_q.weight.

    Raises:
        UserError: A name that the architecture does not have.
    """
    found = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)", name)
    table = OUTSIDE if found is None or found[1] is None else IN_BLOCK
    if found is None or found[2] not in table:
        raise UserError(f"tensor {name} of the GGUF file is unknown to architecture llama")
    block = "" if found[1] is None else f"model.layers.{found[1]}."
    return f"{block}{table[found[2]]}.{found[3]}"


def halves_from_pairs(
    values: Float[np.ndarray, "rows ..."], heads: int
) -> Float[np.ndarray, "rows ..."]:
    """Rows of each head as transformers turns them: first halves, then second ones.

    llama.cpp turns neighbours and stores the two coordinates of a turn side by side.
    """
    pairs = values.reshape(heads, len(values) // heads // 2, 2, *values.shape[1:])
    halves: Float[np.ndarray, "rows ..."] = pairs.swapaxes(1, 2).reshape(values.shape)
    return halves
