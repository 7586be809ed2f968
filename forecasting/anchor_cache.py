"""Anchors that take long to compute, kept in files by what they were computed from.

A folder of safetensors files under the user's cache: `$XDG_CACHE_HOME/foretell`, else
`~/.cache/foretell`. It may be deleted at any time.
"""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from foretell.errors import UserError
from foretell.run import atomic_write

_log = logging.getLogger(__name__)

FORMAT = 1
"""Raised when the same words give other rows than before."""


def cache_folder() -> Path:
    """Where files are kept; a relative XDG_CACHE_HOME counts as none."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".cache") / "foretell"


def kept_rows(
    name: str,
    words: Float[Tensor, "words dim"],
    count: int,
    compute: Callable[[], Float[Tensor, "rows dim"]],
) -> Float[Tensor, "rows dim"]:
    """What `compute` gives for these words, from a file where they were met before.

    A damaged file is computed anew and replaced, a folder that cannot be written is left; both are
    told in a warning.

    Args:
        name: Of the computation, seed included.
        words: E, what the file is known by.
        count: Rows.
        compute: Called without a file.
    """
    from safetensors.torch import save

    path = cache_folder() / f"{name}_{count}_{_digest(words)}.safetensors"
    if path.is_file():
        found = _read(path, (count, words.shape[1]))
        if found is not None:
            return found.to(words.device)
    rows = compute()
    try:
        atomic_write(path, save({"rows": rows.cpu().contiguous()}))
    except UserError as error:
        _log.warning("%s will be computed anew next time: %s", name, error)
    return rows


def _read(path: Path, shape: tuple[int, int]) -> Tensor | None:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        rows = load(path.read_bytes())["rows"]
        if rows.shape != shape or rows.dtype != torch.float32 or not bool(rows.isfinite().all()):
            raise ValueError(f"rows {tuple(rows.shape)} of {rows.dtype}, wanted {shape}")
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        _log.warning("%s is damaged and computed anew: %s", path, error)
        return None
    return rows


def _digest(words: Tensor) -> str:
    content = words.detach().cpu().float().contiguous()
    digest = hashlib.sha256(f"{FORMAT} {tuple(content.shape)} ".encode())
    digest.update(content.numpy().data)
    return digest.hexdigest()[:32]
