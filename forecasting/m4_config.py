"""Configuration of `foretell forecast m4`; torch-free."""

from dataclasses import dataclass, field
from typing import Literal

from forecasting.config import FitsConfig, NetworksConfig
from foretell.config import TrainerConfig

M4Name = Literal[
    "last", "seasonal_naive", "drift", "naive2", "ridge", "nlinear", "dlinear", "patchtst",
    "s2ip", "lstm", "lssl", "mamba2", "aaren", "titans",
]  # fmt: skip
Frequency = Literal["auto", "hourly", "daily", "weekly", "monthly", "quarterly", "yearly"]
WHOLE_SERIES = ("last", "seasonal_naive", "drift", "naive2")
"""Names that learn nothing and see all past values of a series."""
SEEDLESS = (*WHOLE_SERIES, "ridge")
"""Names for which nothing is drawn."""


@dataclass(frozen=True)
class M4DataConfig:
    """Files of one frequency."""

    train: str = ""
    """The competition's training file, a series a line, such as Hourly-train.csv."""
    test: str = ""
    """The values that follow; empty = the file beside it, -train replaced by -test. Read only
    where the test is scored."""
    frequency: Frequency = "auto"
    """Sets horizon and season; auto = by the training file's name."""


@dataclass(frozen=True)
class M4Config:
    """`foretell forecast m4`: models side by side on every series of one frequency."""

    data: M4DataConfig = field(default_factory=M4DataConfig)
    models: list[M4Name] = field(
        default_factory=lambda: ["last", "seasonal_naive", "naive2", "ridge", "nlinear", "dlinear"]
    )
    """Which, such as ridge,dlinear."""
    context: int | None = None
    """Past steps that a trained forecast sees; none = two horizons, as published."""
    history: float | None = None
    """Training targets begin in the last so many horizons before validation; none = as published,
    1.5 for yearly, quarterly and monthly series, else 10."""
    cuts: int = 1
    """Windows of each series in an epoch, each cut at random."""
    scaling: Literal["size", "season", "none"] = "size"
    """What a window and its forecast are divided by, which sMAPE does not see: size = mean |x| of
    its context; season = mean |x_t - x_(t-m)|, the scale of MASE; none = as published."""
    mase_weight: float = 0.0
    """Training and best epoch: sMAPE in percent plus so much of the mean absolute error in scales
    of MASE inside the window. 0 = as published; OWA weighs them as Naive2's sMAPE to its MASE."""
    networks: NetworksConfig = field(default_factory=NetworksConfig)
    fits: FitsConfig = field(default_factory=FitsConfig)
    parts: list[Literal["val", "test"]] = field(default_factory=lambda: ["test"])
    """What is scored; [val] alone ranks variants and does not open the test file."""
    jobs: int = 1
    """Rows at a time, each in a process of its own."""
    trainer: TrainerConfig = field(
        default_factory=lambda: TrainerConfig(threads=1, accelerator="auto")
    )

    def __post_init__(self) -> None:
        if not self.models or len(set(self.models)) < len(self.models):
            raise ValueError(f"models needs one entry or more, none twice, got {self.models}")
        if self.jobs < 1 or self.cuts < 1 or (self.context is not None and self.context < 1):
            raise ValueError("context, cuts and jobs must be at least 1")
        if self.networks.s2ip.linear_path == "ridge":
            raise ValueError("networks.s2ip.linear_path ridge is not solved for on M4: use trained")
        if self.history is not None and self.history <= 0:
            raise ValueError(f"history must be positive, got {self.history}")
        if self.mase_weight < 0 or (self.mase_weight and self.scaling != "season"):
            raise ValueError(
                "mase_weight must not be negative and asks for --scaling season, got "
                f"{self.mase_weight} and {self.scaling}"
            )
        if not self.parts:
            raise ValueError("parts is empty: name val or test")
