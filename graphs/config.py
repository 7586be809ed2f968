"""Configuration of the verbs of `foretell graphs`; torch-free."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from foretell.config import TrainerConfig
from graphs.data_config import DataConfig, SplitConfig
from graphs.model_config import (
    FeatureConfig,
    HeadConfig,
    ModelConfig,
    StructureConfig,
    Task,
    refuse_idle,
)

Protocol = Literal["fixed", "fixed_online", "live"]
LINK_BASELINES = ("persistence", "decayed_pairs", "seen", "count", "window")
EDGE_BASELINES = ("majority", "degree_logistic", "reputation")
NODE_BASELINES = ("majority", "feature_logistic")


@dataclass(frozen=True)
class NegativesConfig:
    """Pairs without an edge at the next step, drawn for every training sample of a link task."""

    mult: float = 50.0
    """Their number over that of the positives."""
    kind: Literal["smart", "uniform", "strata"] = "smart"
    """Smart: sources of the positives with nodes active in the window, as in the released code.
    Strata: half of them between nodes active in the last steps, the others elsewhere."""
    past: bool = False
    """Add every pair that met before and does not meet now."""
    balance: bool = False
    """Weigh drawn pairs so that they stand for all pairs; the loss is then that of all pairs."""

    def __post_init__(self) -> None:
        if self.mult <= 0:
            raise ValueError(f"mult must be positive, got {self.mult}")
        if self.balance and self.kind == "smart":
            raise ValueError("balance needs kind uniform or strata: smart draws leave pairs out")


@dataclass(frozen=True)
class OptimConfig:
    """Adam, one step for each training sample, or for each chunk of a carried state."""

    lr: float = 1e-3
    """Learning rate."""
    weight_decay: float = 0.0
    """Decoupled decay of all weights; 0 as published."""
    grad_clip: float = 0.0
    """Largest norm of the gradient; 0 = none."""

    def __post_init__(self) -> None:
        if self.lr <= 0:
            raise ValueError(f"lr must be positive, got {self.lr}")


@dataclass(frozen=True)
class StopConfig:
    """When training ends and which epoch is kept: the best on validation."""

    patience: int = 50
    """Epochs without a better validation before training stops."""
    metric: Literal["auto", "map", "mrr", "minority_f1", "auc", "mse"] = "auto"
    """What is watched; auto = map of links, minority_f1 of classes, mse of numbers."""
    negatives_share: float = 0.02
    """Links: share of the pairs without an edge that validation during training scores, the same
    ones at every epoch; 1 = all."""

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise ValueError(f"patience must be at least 1, got {self.patience}")
        if not 0 < self.negatives_share <= 1:
            raise ValueError(f"negatives_share must lie in (0, 1], got {self.negatives_share}")


@dataclass(frozen=True)
class OnlineConfig:
    """How a model keeps learning on revealed steps in `fixed_online` and `live`."""

    lr: float | None = None
    """Learning rate; none = `optim.lr`."""
    max_epochs: int = 100
    """Optimiser steps on a revealed step, at most."""
    patience: int = 5
    """Steps without a better loss on the held pairs before it stops; the best is restored."""

    def __post_init__(self) -> None:
        if self.lr is not None and self.lr <= 0:
            raise ValueError(f"lr must be positive, got {self.lr}")
        if self.max_epochs < 0 or self.patience < 1:
            raise ValueError(
                f"max_epochs must be at least 0 and patience 1, got {self.max_epochs} and "
                f"{self.patience}"
            )


@dataclass(frozen=True)
class EvalConfig:
    """What is scored after training, and how."""

    protocols: list[Protocol] = field(default_factory=lambda: ["fixed"])
    """fixed = frozen parameters, all pairs; fixed_online = the same scores, learning on revealed
    steps; live = a model of its own, updated step by step. Never in one column."""
    parts: list[Literal["val", "test"]] = field(default_factory=lambda: ["val", "test"])
    """Steps that are scored at the end; [val] alone ranks variants without a look at the test."""
    ties: Literal["mean", "optimistic", "pessimistic"] = "mean"
    """Rank of a positive among equal scores."""
    filtered: bool = False
    """Leave other positives out of a positive's rank."""
    one_vs_many: int = 100
    """Seeded uniform targets against which each positive is ranked apart; 0 = no such metric."""
    baselines: bool = True
    """Score the untrained baselines beside the model."""
    trained_baselines: list[Literal["static", "gcn_gru"]] = field(
        default_factory=lambda: ["static", "gcn_gru"]
    )
    """Networks without evolving weights, trained by the same rules in the same run."""
    live_negatives: int = 1000
    """Targets drawn for each source in `live`."""
    memory_mb: int = 256
    """Scores held at a time when all pairs are scored."""

    def __post_init__(self) -> None:
        if not self.protocols:
            raise ValueError("protocols is empty: name fixed, fixed_online or live")
        if not self.parts or ("live" in self.protocols and "test" not in self.parts):
            raise ValueError(f"parts is {self.parts}: name val or test; live has the test alone")
        if self.one_vs_many < 0 or self.live_negatives < 1 or self.memory_mb < 1:
            raise ValueError("one_vs_many, live_negatives and memory_mb must be positive")


@dataclass(frozen=True)
class TrainConfig:
    """`foretell graphs train`."""

    task: Task = "link"
    """link = pairs of the next step; edge = classes of this step's edges; node = classes of nodes;
    regression = a number of each node."""
    ibm_compat: bool = False
    """As the released code: cell gru, state window, RReLU after both layers, mask in h, loss over
    the count, feature width over all steps but the last."""
    data: DataConfig = field(default_factory=DataConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    features: FeatureConfig = field(default_factory=FeatureConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    head: HeadConfig = field(default_factory=HeadConfig)
    structure: StructureConfig = field(default_factory=StructureConfig)
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    stop: StopConfig = field(default_factory=StopConfig)
    online: OnlineConfig = field(default_factory=OnlineConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    trainer: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(
            max_epochs=60, check_val_every_n_epoch=5, threads=1, accelerator="cpu"
        )
    )

    def __post_init__(self) -> None:
        if self.ibm_compat:
            for name, value in _compatible(self).items():
                object.__setattr__(self, name, value)
        if self.negatives.past and not self.structure.decays:
            raise ValueError(
                "negatives.past needs structure.decays, which keep the pairs that met: give some"
            )
        if self.task != "link":
            refuse_idle(self, f"with task {self.task}", "negatives")
            if self.eval.protocols != ["fixed"]:
                raise ValueError(f"task {self.task} has the protocol fixed alone")
        if self.trainer.devices != 1 or self.trainer.num_nodes != 1:
            raise ValueError(
                "trainer.devices and num_nodes must be 1: steps follow each other in time; run "
                "seeds or presets side by side instead"
            )
        if self.trainer.accelerator != "cpu" or self.trainer.precision != "32-true":
            raise ValueError(
                "trainer.accelerator must be cpu and precision 32-true: nothing else was tried"
            )

    @property
    def who(self) -> str:
        """The model's name in tables and metrics."""
        if not self.structure.embedding:
            return "decoder_only"
        names = {"static": "static_gcn", "gcn_gru": "gcn_gru"}
        return names.get(self.model.version, f"evolvegcn_{self.model.version}")

    @property
    def watched(self) -> str:
        """The validation metric that chooses the epoch."""
        auto = {"link": "map", "edge": "minority_f1", "node": "minority_f1", "regression": "mse"}
        return auto[self.task] if self.stop.metric == "auto" else self.stop.metric


@dataclass(frozen=True)
class EvaluateConfig:
    """`foretell graphs evaluate`."""

    model: str = ""
    """Folder of a saved model, such as RUN/model."""
    data: DataConfig = field(default_factory=DataConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    threads: int = 1
    """torch threads."""


@dataclass(frozen=True)
class PredictConfig:
    """`foretell graphs predict`: the step after the last one of the data."""

    model: str = ""
    """Folder of a saved model, such as RUN/model."""
    data: DataConfig = field(default_factory=DataConfig)
    top: int = 100
    """Links: how many of the likeliest pairs are written, at least 1."""
    known: bool = True
    """Links: pairs that met before may be among them."""
    threads: int = 1
    """torch threads."""

    def __post_init__(self) -> None:
        if self.top < 1:
            raise ValueError(f"top must be at least 1, got {self.top}")


def _compatible(config: TrainConfig) -> dict[str, Any]:
    """Parts of the configuration as the released code has them."""
    model, head, features = config.model, config.head, config.features
    if model.version in ("h", "o"):
        refused = {"cell": ("auto", "gru"), "activation": ("relu", "rrelu")}
        for name, allowed in refused.items():
            if getattr(model, name) not in allowed:
                raise ValueError(
                    f"model.{name} {getattr(model, name)} contradicts ibm_compat: drop one of them"
                )
        model = replace(model, cell="gru", mask=model.version == "h")
    model = replace(model, state="window", tbptt=10, activation="rrelu", last_activation="rrelu")
    if features.kind != "columns":
        features = replace(features, width="official", max_degree=256)
    return {"model": model, "head": replace(head, loss_norm="count"), "features": features}
