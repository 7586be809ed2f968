"""Configuration of the networks: features, weight evolution, decoder, structure; torch-free."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

from foretell.blocks.config import MixerConfig

FORMAT_VERSION = 1
"""Of the `config.json` of saved models."""

Task = Literal["link", "edge", "node", "regression"]
"""Pairs of the next step, classes of this step's edges, classes of nodes, a number of each node."""
Activation = Literal["relu", "rrelu", "tanh", "identity"]


def refuse_idle(config: Any, when: str, *names: str) -> None:
    """Raise ValueError where one of these options, which do nothing now, was changed."""
    for part in dataclasses.fields(config):
        made = part.default_factory
        default = part.default if made is dataclasses.MISSING else made()
        if part.name in names and getattr(config, part.name) != default:
            raise ValueError(f"{part.name} has no effect {when}: drop it")


@dataclass(frozen=True)
class FeatureConfig:
    """What a node brings to the first layer."""

    kind: Literal["auto", "degree", "columns"] = "auto"
    """Its degree, or the columns of the data; auto = the columns where the data have them."""
    degree: Literal["one_hot", "log_bins"] = "one_hot"
    """A column for each number of distinct neighbours, or one for each power of two."""
    width: Literal["train", "official"] = "train"
    """Columns by the largest degree of the training steps, capped; or, as the released code does,
    of all steps but the last, uncapped, which looks at the test."""
    max_degree: int = 256
    """Larger degrees share the last column."""

    def __post_init__(self) -> None:
        if self.max_degree < 1:
            raise ValueError(f"max_degree must be at least 1, got {self.max_degree}")
        if self.kind == "columns":
            refuse_idle(self, "with kind columns", "degree", "width", "max_degree")
        elif self.degree == "log_bins" or self.width == "official":
            refuse_idle(self, f"with {self.degree} of {self.width} width", "max_degree")


@dataclass(frozen=True)
class ModelConfig:
    """EvolveGCN (arXiv 1902.10191), or one of the two graph networks it is compared with."""

    version: Literal["h", "o", "static", "gcn_gru"] = "o"
    """h = weights evolve by what the nodes hold, o = by themselves; static = one weight for all
    steps; gcn_gru = static, then a GRU over the embeddings of every node."""
    hidden_dim: int = 100
    """Width of every layer."""
    num_layers: int = 2
    """Graph convolutions."""
    cell: Literal["auto", "lstm", "gru", "mixer"] = "auto"
    """What evolves a weight; auto = as in the paper: a matrix LSTM in o, a matrix GRU in h."""
    mixer: MixerConfig = field(default_factory=MixerConfig)
    """Of cell mixer: W_t = W_0 + out(y_t), with `out` zero at first."""
    mixer_bound: float | None = None
    """Largest norm of W_t - W_0 over that of W_0; none = free."""
    state: Literal["carry", "window"] = "carry"
    """One recurrence along time, or one from W_0 over each window, as the released code runs."""
    context: int = 10
    """Past steps of a window, beside the step itself; of `window` alone."""
    tbptt: int = 10
    """Steps through which gradients go and that share an optimiser step; of `carry` alone."""
    activation: Activation = "relu"
    """After every layer but the last."""
    last_activation: Activation = "identity"
    """After the last layer."""
    mask: bool = False
    """h: choose among the nodes that have an edge alone."""
    skip_features: bool = False
    """Append the input features to the embedding."""

    def __post_init__(self) -> None:
        for name in ("hidden_dim", "num_layers", "tbptt"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.context < 0:
            raise ValueError(f"context must not be negative, got {self.context}")
        if self.cell != "mixer":
            refuse_idle(self, f"with cell {self.cell}", "mixer", "mixer_bound")
        if self.version in ("static", "gcn_gru"):
            refuse_idle(self, f"with version {self.version}", "cell", "mask")
        if self.version != "h":
            refuse_idle(self, f"with version {self.version}", "mask")
        if self.version == "h" and self.cell == "lstm":
            raise ValueError("cell lstm takes no summary of the nodes: set gru, or version o")
        if self.state == "carry":
            refuse_idle(self, "with state carry", "context")
        else:
            refuse_idle(self, "with state window", "tbptt")

    @property
    def resolved_cell(self) -> Literal["lstm", "gru", "mixer"]:
        """The cell that `auto` means."""
        if self.cell != "auto":
            return self.cell
        return "gru" if self.version == "h" else "lstm"

    @property
    def past_steps(self) -> int:
        """Steps before the first training sample."""
        return self.context if self.state == "window" else 0


@dataclass(frozen=True)
class HeadConfig:
    """From embeddings to answers: Linear, ReLU, Linear."""

    hidden_dim: int = 100
    """Width of the hidden layer, m."""
    class_weights: list[float] = field(default_factory=list)
    """alpha of every class, in order; empty = 1 each. Of links: no link, link."""
    loss_norm: Literal["count", "weights"] = "count"
    """Divide the weighted sum by the number of samples, or by the sum of their weights (as
    torch does)."""

    def __post_init__(self) -> None:
        if self.hidden_dim < 1:
            raise ValueError(f"hidden_dim must be at least 1, got {self.hidden_dim}")
        if any(weight < 0 for weight in self.class_weights):
            raise ValueError(f"class_weights must not be negative, got {self.class_weights}")


@dataclass(frozen=True)
class StructureConfig:
    """Running counts of past edges, given to the decoder beside the embeddings (not in the paper).

    Nodes bring the logarithms of their decayed numbers of edges; pairs that met before bring those
    of their decayed counts and the age of their last edge.
    """

    decays: list[float] = field(default_factory=list)
    """Factors by which counts shrink from step to step; empty = no structure."""
    reputation: bool = False
    """Edge classification: decayed shares of positive labels around each node, of past steps."""
    lags: int = 0
    """Regression: so many past values of each node; the forecast is then the last one plus what
    the decoder says."""
    embedding: bool = True
    """Off: the decoder sees the structure alone, no graph embedding (row decoder_only)."""

    def __post_init__(self) -> None:
        if any(not 0 <= decay <= 1 for decay in self.decays):
            raise ValueError(f"decays must lie in [0, 1], got {self.decays}")
        if self.lags < 0:
            raise ValueError(f"lags must not be negative, got {self.lags}")
        if not self.enabled and not self.embedding:
            raise ValueError("embedding off needs structure: give decays, reputation or lags")

    @property
    def enabled(self) -> bool:
        """Whether the decoder sees any structure."""
        return bool(self.decays) or self.reputation or self.lags > 0


@dataclass(frozen=True)
class NetworkConfig:
    """All that a saved model needs to be built again."""

    task: Task
    model: ModelConfig
    features: FeatureConfig
    head: HeadConfig
    structure: StructureConfig
    feature_dim: int
    """Width of the first layer's input."""
    columns: bool
    """Whether features are columns of the data; otherwise degrees."""
    num_classes: int
    """Answers of the head; of a regression 1."""
    edge_columns: int = 0
    """Columns that describe an edge, in the decoder's input."""
    directed: bool = False
    """Whether pairs have a direction."""
