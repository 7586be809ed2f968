"""Configuration of what is read: file, steps, features, split; torch-free."""

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "auto", "bitcoin", "konect", "as733", "reddit", "sbm", "elliptic", "json", "edges", "generated"
]


@dataclass(frozen=True)
class ColumnsConfig:
    """Columns of a user's own edge list (kind `edges`), by name."""

    source: str = "source"
    """Where an edge begins; any text or number."""
    target: str = "target"
    """Where it ends."""
    time: str = "time"
    """Unix seconds, a date, or with `step_s` 0 the number of the step."""
    weight: str | None = None
    """Weight of an edge, not negative; none = 1."""
    label: str | None = None
    """Class of an edge, for edge classification; empty cells are unknown. Never an input."""
    attributes: list[str] = field(default_factory=list)
    """Columns of numbers that describe an edge; they join the decoder's input."""


@dataclass(frozen=True)
class GeneratorConfig:
    """The stochastic block model of kind `generated`."""

    num_nodes: int = 1000
    """Nodes."""
    num_steps: int = 50
    """Snapshots."""
    num_communities: int = 3
    """Blocks; also the classes of the nodes."""
    edges_per_step: int = 97000
    """Expected directed edges of a snapshot."""
    inside_share: float = 0.8
    """Share of the edges that stay inside a community."""
    migrating: int = 20
    """Nodes that change their community at every step."""
    seed: int = 0
    """Of the graph; the run's own seed changes the training alone."""


@dataclass(frozen=True)
class DataConfig:
    """Which graph is read and how time is cut into steps."""

    path: str = ""
    """File, or folder for AS-733, Reddit and Elliptic."""
    kind: Kind = "auto"
    """Format of the file; auto = by its name and first lines."""
    step_s: float | None = None
    """Seconds of a step; none = as the data set is usually cut (OTC and Alpha 1,200,000, UCI
    190,080, others a day, Reddit a week); 0 = the file numbers its steps."""
    align: Literal["first", "epoch"] = "first"
    """Steps are counted from the first edge, or from 1970 (as live update counts weeks)."""
    directed: bool = False
    """Keep the direction of edges; off = both directions, as published."""
    drop_empty: bool = False
    """Leave out steps without an edge."""
    max_steps: int | None = None
    """Use the first so many steps alone; none = all (AS-733: 100)."""
    drop_time_column: bool = False
    """Elliptic: leave out the feature that is the number of the step."""
    columns: ColumnsConfig = field(default_factory=ColumnsConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)

    def __post_init__(self) -> None:
        if self.step_s is not None and self.step_s < 0:
            raise ValueError(f"step_s must not be negative, got {self.step_s}")
        if self.max_steps is not None and self.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {self.max_steps}")
        if self.kind not in ("auto", "edges") and self.columns != ColumnsConfig():
            raise ValueError(f"columns has no effect with kind {self.kind}: drop it, or set edges")
        if self.kind not in ("auto", "generated") and self.generator != GeneratorConfig():
            raise ValueError(
                f"generator has no effect with kind {self.kind}: drop it, or set generated"
            )


@dataclass(frozen=True)
class SplitConfig:
    """Steps for training, validation and test, in the order of time (released code)."""

    train_share: float = 0.7
    """p: with m the last step, training samples are context .. floor(p m) - 1."""
    val_share: float = 0.1
    """Validation ends before floor((p + val_share) m); the rest is the test."""

    def __post_init__(self) -> None:
        if not (0 < self.train_share < 1 and 0 < self.val_share < 1):
            raise ValueError(
                f"train_share and val_share must lie between 0 and 1, got {self.train_share} and "
                f"{self.val_share}"
            )
        if self.train_share + self.val_share >= 1:
            raise ValueError("train_share + val_share must stay below 1, so that a test is left")
