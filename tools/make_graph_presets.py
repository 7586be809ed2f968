"""Writes configs/graphs/*.yaml from the tables below: python tools/make_graph_presets.py

`<data>_<task>_<o|h>` has the released code's behaviour and hyper-parameters, `..._paper` the same
hyper-parameters with the paper's cell and carried state, `<data>_<task>_best` ours, chosen on
validation (docs/results/graph_tuning.md). A test compares the files with the tables.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from foretell.config import TrainerConfig, to_dict
from graphs.config import NegativesConfig, OptimConfig, StopConfig, TrainConfig
from graphs.data_config import DataConfig, SplitConfig
from graphs.model_config import FeatureConfig, HeadConfig, ModelConfig, StructureConfig

FOLDER = Path(__file__).resolve().parents[1] / "configs" / "graphs"
LONGEST = 150
"""Epochs of a preset; --trainer.max_epochs lifts it."""


@dataclass(frozen=True)
class Published:
    """A row of hyper-parameters: learning rate, width, width of the decoder, class weights."""

    lr: float
    width: int
    decoder: int
    weights: tuple[float, float]
    context: int
    patience: int
    mult: int = 0


KIND = {
    "sbm": "sbm", "otc": "bitcoin", "alpha": "bitcoin", "uci": "konect", "as": "as733",
    "reddit": "reddit", "elliptic": "elliptic",
}  # fmt: skip
WHAT = {"link": "links", "edge": "edge classes", "node": "node classes"}
TRAIN_SHARE = {"uci": 0.71, "reddit": 0.71, "elliptic": 0.65}
NAMES = {
    "sbm": "a stochastic block model", "otc": "Bitcoin OTC", "alpha": "Bitcoin Alpha",
    "uci": "UCI messages", "as": "autonomous systems (AS-733)", "reddit": "Reddit hyperlinks",
    "elliptic": "Elliptic",
}  # fmt: skip
PUBLISHED = {
    ("sbm", "link", "o"): Published(0.005, 51, 565, (0.15, 0.85), 5, 50, 50),
    ("sbm", "link", "h"): Published(0.01, 50, 100, (0.1, 0.9), 5, 50, 50),
    ("otc", "link", "o"): Published(0.01, 100, 400, (0.05, 0.95), 10, 50, 100),
    ("otc", "link", "h"): Published(0.005, 33, 400, (0.05, 0.95), 10, 50, 100),
    ("alpha", "link", "o"): Published(0.005, 100, 400, (0.05, 0.95), 10, 50, 100),
    ("alpha", "link", "h"): Published(0.005, 50, 100, (0.1, 0.9), 10, 50, 100),
    ("uci", "link", "o"): Published(0.001, 100, 100, (0.1, 0.9), 10, 50, 50),
    ("uci", "link", "h"): Published(0.001, 100, 100, (0.1, 0.9), 10, 50, 50),
    ("as", "link", "o"): Published(0.011, 30, 100, (0.1, 0.9), 5, 50, 100),
    ("as", "link", "h"): Published(0.005, 171, 113, (0.1, 0.9), 10, 50, 100),
    ("otc", "edge", "o"): Published(0.001, 32, 316, (0.8, 0.2), 10, 100),
    ("otc", "edge", "h"): Published(0.001, 50, 100, (0.8, 0.2), 10, 100),
    ("alpha", "edge", "o"): Published(0.001, 122, 77, (0.8, 0.2), 10, 100),
    ("alpha", "edge", "h"): Published(0.001, 100, 200, (0.8, 0.2), 10, 100),
    ("reddit", "edge", "o"): Published(0.085, 152, 147, (0.9, 0.1), 10, 50),
    ("reddit", "edge", "h"): Published(0.001, 100, 100, (0.9, 0.1), 10, 50),
    ("elliptic", "node", "o"): Published(0.001, 256, 307, (0.35, 0.65), 5, 100),
    ("elliptic", "node", "h"): Published(0.001, 76, 510, (0.25, 0.75), 5, 100),
}
"""Of the released code's files; its own limits of epochs are 100 to 1,000."""


COUNTS = StructureConfig(decays=[0.0, 0.3, 0.6, 0.9])
ALL_PAIRS = NegativesConfig(kind="uniform", past=True, balance=True)
"""Pairs that met before are all there, and drawn ones stand for the rest."""


@dataclass(frozen=True)
class Best:
    """The winner of tools/reproduce/graph_tuning.py: what it changes of the paper's settings."""

    of: str
    """Data on which it won."""
    version: Literal["h", "o"]
    model: dict[str, Any]
    structure: StructureConfig
    optim: OptimConfig
    head: HeadConfig
    epochs: int
    validate_every: int
    stop: StopConfig
    negatives: NegativesConfig = NegativesConfig()
    features: FeatureConfig = FeatureConfig()


UCI_LINK = Best(
    of="uci", version="o", model={"hidden_dim": 16}, structure=COUNTS, optim=OptimConfig(lr=0.003),
    head=HeadConfig(), epochs=60, validate_every=3, stop=StopConfig(negatives_share=1.0),
    negatives=ALL_PAIRS, features=FeatureConfig(degree="log_bins"),
)  # fmt: skip
OTC_LINK = Best(
    of="otc", version="h", model={"hidden_dim": 100}, structure=COUNTS,
    optim=OptimConfig(lr=0.003), head=HeadConfig(), epochs=40, validate_every=4,
    stop=StopConfig(negatives_share=0.05), negatives=ALL_PAIRS,
)  # fmt: skip
OTC_EDGE = Best(
    of="otc", version="o", model={"hidden_dim": 32},
    structure=StructureConfig(decays=[0.6, 0.9], reputation=True), optim=OptimConfig(lr=0.001),
    head=HeadConfig(hidden_dim=316, class_weights=[0.8, 0.2]), epochs=30, validate_every=2,
    stop=StopConfig(patience=100, metric="auc"),
)  # fmt: skip
ELLIPTIC_NODE = Best(
    of="none", version="o", model={"hidden_dim": 256, "skip_features": True},
    structure=StructureConfig(), optim=OptimConfig(lr=0.001),
    head=HeadConfig(hidden_dim=307, class_weights=[0.35, 0.65]), epochs=LONGEST, validate_every=5,
    stop=StopConfig(patience=100),
)  # fmt: skip
BEST = {
    ("uci", "link"): UCI_LINK, ("sbm", "link"): UCI_LINK, ("otc", "link"): OTC_LINK,
    ("alpha", "link"): OTC_LINK, ("as", "link"): OTC_LINK, ("otc", "edge"): OTC_EDGE,
    ("alpha", "edge"): OTC_EDGE, ("reddit", "edge"): OTC_EDGE, ("elliptic", "node"): ELLIPTIC_NODE,
}  # fmt: skip


def presets() -> Iterator[tuple[str, TrainConfig, str]]:
    """Name, configuration and first line of every preset."""
    for (data, task, version), row in PUBLISHED.items():
        what = WHAT[task]
        title = f"EvolveGCN-{version.upper()} on {NAMES[data]}, {what}"
        official = _published(data, task, version, row)
        yield f"{data}_{task}_{version}", official, f"{title}, as the released code runs it."
        yield (
            f"{data}_{task}_{version}_paper", _paper(official),
            f"{title}, with the paper's cell and a state carried along time.",
        )  # fmt: skip
    for (data, task), best in BEST.items():
        title = f"EvolveGCN-{best.version.upper()} on {NAMES[data]}, {WHAT[task]}"
        why = f"with the settings that won on {NAMES.get(best.of)}; not tried on this data"
        if best.of == data:
            why = "ours, chosen on validation"
        elif best.of == "none":
            why = "features beside the embedding; not tried on this data"
        yield f"{data}_{task}_best", _best(data, task, best), f"{title}: {why}."


def _published(data: str, task: Any, version: Any, row: Published) -> TrainConfig:
    return TrainConfig(
        task=task,
        ibm_compat=True,
        data=DataConfig(kind=KIND[data]),  # type: ignore[arg-type]
        split=SplitConfig(train_share=TRAIN_SHARE.get(data, 0.7)),
        model=ModelConfig(
            version=version, hidden_dim=row.width, state="window", context=row.context
        ),
        head=HeadConfig(hidden_dim=row.decoder, class_weights=list(row.weights)),
        negatives=NegativesConfig(mult=float(row.mult)) if row.mult else NegativesConfig(),
        optim=OptimConfig(lr=row.lr),
        stop=StopConfig(patience=row.patience),
        trainer=_trainer(),
    )


def _paper(official: TrainConfig) -> TrainConfig:
    """The paper's behaviour: everything that ibm_compat changes back at its default."""
    return TrainConfig(
        task=official.task,
        data=official.data,
        split=official.split,
        model=ModelConfig(
            version=official.model.version, hidden_dim=official.model.hidden_dim, state="carry"
        ),
        head=official.head,
        negatives=official.negatives,
        optim=official.optim,
        stop=official.stop,
        trainer=official.trainer,
    )


def _best(data: str, task: Any, best: Best) -> TrainConfig:
    """A carried state, an optimiser step for each time step."""
    return TrainConfig(
        task=task,
        data=DataConfig(kind=KIND[data]),  # type: ignore[arg-type]
        split=SplitConfig(train_share=TRAIN_SHARE.get(data, 0.7)),
        features=best.features,
        model=ModelConfig(version=best.version, state="carry", tbptt=1, **best.model),
        head=best.head,
        structure=best.structure,
        negatives=best.negatives,
        optim=best.optim,
        stop=best.stop,
        trainer=replace(
            _trainer(), max_epochs=best.epochs, check_val_every_n_epoch=best.validate_every
        ),
    )


def _trainer() -> TrainerConfig:
    return TrainerConfig(
        max_epochs=LONGEST, check_val_every_n_epoch=5, threads=1, accelerator="cpu",
        log_every_n_steps=10,
    )  # fmt: skip


def text(config: TrainConfig, title: str) -> str:
    """YAML of a preset: complete, but for branches that it does not select."""
    values = to_dict(config)
    if config.model.cell != "mixer":
        del values["model"]["mixer"]
    for branch, kind in (("columns", "edges"), ("generator", "generated")):
        if config.data.kind != kind:
            del values["data"][branch]
    if config.task != "link":
        del values["negatives"], values["online"]
    body = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=100)
    return f"# {title}\n{body}"


def main() -> None:
    """Write all files."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, config, title in presets():
        (FOLDER / f"{name}.yaml").write_text(text(config, title))
    sys.stdout.write(f"{len(list(FOLDER.glob('*.yaml')))} files in {FOLDER}\n")


if __name__ == "__main__":
    main()
