"""The blocks between tokens and head: a frozen language model, or what stands in its place."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from forecasting.language_model import load_model, word_embeddings
from forecasting.s2ip_config import BackboneConfig

ATTENTION_HEADS = 4


class FrozenModel(nn.Module):
    """A language model of which norms and positions are trained.

    What is frozen is no part of the state: checkpoints and saved forecasters hold the trained
    tensors alone, and a state without the others loads.

    Args:
        model: Of transformers, taking `inputs_embeds`.
        train: What is trained.
    """

    def __init__(self, model: Any, train: list[str]) -> None:
        super().__init__()
        self.model = model
        model.requires_grad_(False)
        _fuse_gelu(model)
        for name, module in model.named_modules():
            kind = type(module).__name__
            if "norm" in train and kind.endswith("Norm"):
                module.requires_grad_(True)
            if "position" in train and name.rpartition(".")[2] in ("wpe", "position_embeddings"):
                module.requires_grad_(True)
        trained = {name for name, weight in self.named_parameters() if weight.requires_grad}
        self.frozen = frozenset(self.state_dict()) - trained
        self.register_state_dict_post_hook(_drop_frozen)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_fill_frozen)  # type: ignore[no-untyped-call]

    def forward(
        self, tokens: Float[Tensor, "series tokens dim"]
    ) -> Float[Tensor, "series tokens dim"]:
        """Hidden states after the last block and norm."""
        hidden: Tensor = self.model(inputs_embeds=tokens, use_cache=False).last_hidden_state
        return hidden


class OneLayer(nn.Module):
    """One trained layer of self-attention, with an MLP behind it or without.

    Args:
        dim: D.
        feedforward: Whether the MLP is there.
    """

    def __init__(self, dim: int, *, feedforward: bool) -> None:
        super().__init__()
        heads = ATTENTION_HEADS if dim % ATTENTION_HEADS == 0 else 1
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.norm = nn.LayerNorm(dim)
        self.mlp: nn.Module | None = None
        if feedforward:
            self.mlp = nn.Sequential(
                nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim)
            )

    def forward(
        self, tokens: Float[Tensor, "series tokens dim"]
    ) -> Float[Tensor, "series tokens dim"]:
        """Added to the tokens, and normed."""
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        hidden = tokens + mixed
        if self.mlp is not None:
            hidden = hidden + self.mlp(hidden)
        normed: Tensor = self.norm(hidden)
        return normed


def build_backbone(config: BackboneConfig) -> tuple[nn.Module, Float[Tensor, "words dim"]]:
    """The blocks, and the words of the language model that `config.model` names.

    Returns:
        What maps tokens to hidden states, and E.

    Raises:
        UserError: See `load_model`.
    """
    model = load_model(config.model, config.layers, allow_download=config.allow_download)
    return wrap(model, config), word_embeddings(model)


def wrap(model: Any, config: BackboneConfig) -> nn.Module:
    """Around a model at hand, whose words stay its own with every kind."""
    words = word_embeddings(model)
    if config.dropout is not None:
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.p = config.dropout
    match config.kind:
        case "pretrained":
            return FrozenModel(model, list(config.train))
        case "random":
            return FrozenModel(_redrawn(model, config.seed), list(config.train))
        case "none":
            return nn.Identity()
        case kind:
            return OneLayer(words.shape[1], feedforward=kind == "block")


def _fuse_gelu(model: Any) -> None:
    """One kernel for GPT-2's activation, which transformers spells out operation by operation:
    a fifth of the seconds of a training step, and a large part of its memory."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child).__name__ == "NewGELUActivation":
                setattr(module, name, nn.GELU(approximate="tanh"))


def _redrawn(model: Any, seed: int) -> Any:
    """The same architecture with weights drawn anew."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return type(model)(model.config)


def _drop_frozen(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    assert isinstance(module, FrozenModel)
    for name in module.frozen:
        state.pop(prefix + name, None)


def _fill_frozen(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    assert isinstance(module, FrozenModel)
    own = dict(module.named_parameters()) | dict(module.named_buffers())
    for name in module.frozen:
        if name in own:
            state.setdefault(prefix + name, own[name])
