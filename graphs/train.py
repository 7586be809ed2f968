"""`foretell graphs train`: fit a network and those it is compared with, score all, keep it."""

import csv
import dataclasses
import io
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch

from foretell.config import RunOptions
from foretell.history import read_history
from foretell.run import RunDirectory, atomic_write
from graphs.class_scores import score_classes, score_values
from graphs.config import TrainConfig
from graphs.data.readers import read_graph
from graphs.evaluation.results import LinkResult
from graphs.figures import links_over_time, training_curves
from graphs.fit import fit
from graphs.link_scores import score_links
from graphs.model_config import ModelConfig
from graphs.network import GraphNetwork
from graphs.problem import Problem, pose
from graphs.saved_model import save_trained

_log = logging.getLogger(__name__)


def run(config: TrainConfig, options: RunOptions) -> None:
    """Train, score validation and test beside the baselines, write model, metrics and figures.

    Raises:
        UserError: Missing or broken data, a task that the data cannot serve, an unwritable folder.
    """
    problem = pose(config, read_graph(config.data))
    run_directory = RunDirectory.create("graphs-train", config, options)
    _describe(problem)
    networks: dict[str, GraphNetwork] = {}
    notes: dict[str, float] = {}
    for who, variant, folder in variants(config, run_directory):
        own = options
        if folder is not run_directory and options.resume:  # a path is one network's checkpoint
            own = dataclasses.replace(options, resume="auto")
        networks[who], fitted = _train(variant, problem, folder, own)
        notes |= {f"val/{who}/{name}": value for name, value in fitted.items()}
    network = networks[config.who]
    card = model_card(config, problem, options, notes)
    save_trained(network, config, run_directory.model, card=card)
    score(networks, config, problem, run_directory, options, notes=notes)
    history = read_history(run_directory.history)
    training_curves(run_directory.figures / "training_curves.png", history, config.watched)
    _log.info("model written to %s", run_directory.model)


def score(
    networks: Mapping[str, GraphNetwork],
    config: TrainConfig,
    problem: Problem,
    run: RunDirectory,
    options: RunOptions,
    *,
    notes: Mapping[str, float],
) -> None:
    """Score networks and baselines; write metrics.json and, of links, steps.csv and figures."""
    if config.task == "link":
        scores, results, names = score_links(networks, config, problem, options)
        write_steps(run, results, names)
    elif config.task == "regression":
        scores = score_values(networks, config, problem, options)
    else:
        scores = score_classes(networks, config, problem, options)
    run.write_metrics({**notes, **with_endings(scores)})
    for part in config.eval.parts:
        _log.info("%s", table(scores, part))


def variants(
    config: TrainConfig, run: RunDirectory
) -> Iterator[tuple[str, TrainConfig, RunDirectory]]:
    """The network of the configuration, then those it is compared with, each with its folder.

    Where the decoder sees structure, the decoder alone is among them: what a graph embedding adds
    is the difference to that row.
    """
    yield config.who, config, run
    others: dict[str, TrainConfig] = {}
    if config.structure.enabled and config.structure.embedding:
        structure = dataclasses.replace(config.structure, embedding=False)
        others["decoder_only"] = dataclasses.replace(config, structure=structure)
    if config.structure.embedding:
        for version in config.eval.trained_baselines:
            model = _compared(config.model, version)
            other = dataclasses.replace(config, model=model)
            if other.who != config.who:
                others[other.who] = other
    for who, other in others.items():
        yield who, other, RunDirectory(run.path / "compared" / who)


def _compared(model: ModelConfig, version: Literal["static", "gcn_gru"]) -> ModelConfig:
    """The same sizes without evolving weights."""
    return dataclasses.replace(
        model, version=version, cell="auto", mixer=ModelConfig().mixer, mixer_bound=None,
        mask=False,
    )  # fmt: skip


def _train(
    config: TrainConfig, problem: Problem, folder: RunDirectory, options: RunOptions
) -> tuple[GraphNetwork, dict[str, float]]:
    sizes = dataclasses.replace(problem.network, model=config.model, structure=config.structure)
    own = dataclasses.replace(problem, network=sizes)
    torch.manual_seed(options.seed)
    network = GraphNetwork(sizes)
    size = sum(parameter.numel() for parameter in network.parameters())
    _log.info("%s: %s weights", config.who, f"{size:,}")
    fitted = fit(config, network, own.data(), own.split, folder, options)
    return network, fitted


def with_endings(scores: Mapping[str, float]) -> dict[str, float | int | None]:
    """Test metrics as /mean of one run; the others as they are."""
    named: dict[str, float | int | None] = {}
    for name, value in scores.items():
        if name.startswith("test/"):
            named |= {f"{name}/mean": value, f"{name}/std": None, f"{name}/n": 1}
        else:
            named[name] = value
    return named


def write_steps(run: RunDirectory, results: Sequence[LinkResult], names: Sequence[str]) -> None:
    """steps.csv with every step's value, and a figure for each protocol."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["protocol", "who", "step", "metric", "value"])
    for result, who in zip(results, names, strict=True):
        for metric, values in result.values.items():
            for step, value in zip(result.steps, values, strict=True):
                writer.writerow([result.protocol, who, step, metric, repr(value)])
    atomic_write(run.path / "steps.csv", text.getvalue())
    for protocol in dict.fromkeys(result.protocol for result in results):
        chosen = [place for place, one in enumerate(results) if one.protocol == protocol]
        links_over_time(
            run.figures / f"links_{protocol}.png",
            [results[place] for place in chosen],
            [names[place] for place in chosen],
        )


def table(scores: Mapping[str, float], part: str) -> str:
    """Metrics of a part (val or test) as lines of text, a protocol and a name each."""
    rows: dict[str, dict[str, float]] = {}
    for name, value in scores.items():
        if name.startswith(f"{part}/"):
            _, protocol, who, metric = name.split("/")
            rows.setdefault(f"{protocol:<13} {who}", {})[metric] = value
    lines = [
        f"  {who:<34} " + "  ".join(f"{metric} {value:.4f}" for metric, value in row.items())
        for who, row in rows.items()
    ]
    return f"{part}\n" + "\n".join(lines)


def _describe(problem: Problem) -> None:
    sequence, split = problem.sequence, problem.split
    pairs = sum(snapshot.num_edges for snapshot in sequence)
    _log.info(
        "%s: %d nodes, %d steps, %d pairs; samples: training %d-%d, validation %d-%d, test %d-%d; "
        "%d %s",
        sequence.name, sequence.num_nodes, len(sequence), pairs,
        split.train.start, split.train.stop - 1, split.val.start, split.val.stop - 1,
        split.test.start, split.test.stop - 1, problem.network.feature_dim,
        "columns of nodes" if problem.network.columns else "columns of degrees",
    )  # fmt: skip


def model_card(
    config: TrainConfig, problem: Problem, options: RunOptions, notes: Mapping[str, float]
) -> str:
    """README.md of the model folder."""
    model = config.model
    state = f"windows of {model.context} + 1" if model.state == "window" else "a carried state"
    epochs, best = (int(notes[f"val/{config.who}/{name}"]) for name in ("epochs", "best_epoch"))
    return f"""# {config.who}, trained with foretell

- Task: `{config.task}` on {problem.sequence.name} ({Path(config.data.path).name or "generated"})
- Model: version `{model.version}`, cell `{model.resolved_cell}`, {state}, width
  {model.hidden_dim}; released code's behaviour: {"yes" if config.ibm_compat else "no"}
- Seed {options.seed}; {epochs} epochs, the best on validation was epoch {best}
- Source: EvolveGCN, arXiv 1902.10191. Data sets carry their own licences.

Load: `graphs.network.GraphNetwork.from_pretrained(folder)`. Score: `foretell graphs evaluate
--model folder`. Forecast the step after the data: `foretell graphs predict --model folder`.
"""
