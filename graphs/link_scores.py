"""Scores of links: the trained networks and every untrained baseline, protocol by protocol."""

import copy
import logging
from collections.abc import Mapping
from dataclasses import replace

import torch

from foretell.config import RunOptions
from graphs.baselines.decayed_pairs import DecayedPairs
from graphs.baselines.decayed_search import choose_decayed_pairs
from graphs.baselines.pair_memory import PairMemory, Persistence
from graphs.config import TrainConfig
from graphs.data.snapshots import SnapshotSequence
from graphs.evaluation.fixed import evaluate_fixed
from graphs.evaluation.live import SplitBy, evaluate_live
from graphs.evaluation.results import LinkResult
from graphs.inputs import InputBuilder
from graphs.network import GraphNetwork
from graphs.objectives import LinkObjective
from graphs.online import OnlineLinks
from graphs.problem import Problem
from graphs.scorer import LinkPredictor
from graphs.walk import TrainedLinks

_log = logging.getLogger(__name__)

LIVE_DECAYED = (0.8, 1e-3)
"""decay and eps of DecayedPairs in `live`, which has no validation part to choose them by."""
WINDOW_STEPS = 10
"""Steps that the window of PairMemory looks back."""


def score_links(
    networks: Mapping[str, GraphNetwork],
    config: TrainConfig,
    problem: Problem,
    options: RunOptions,
) -> tuple[dict[str, float], list[LinkResult], list[str]]:
    """Score networks and baselines in every protocol that the configuration names.

    Args:
        networks: Name -> trained network; copies go on learning where the protocol says so.
        config: Protocols, ties, baselines; loss and rates of what goes on learning.
        problem: The graph; `live` reads it anew, directed.
        options: Seed and quiet.

    Returns:
        Metrics by name (test ones without /mean); results of the test and whose they are.
    """
    metrics: dict[str, float] = {}
    results: list[LinkResult] = []
    names: list[str] = []

    def keep(part: str, scored: Mapping[str, LinkResult]) -> None:
        for who, result in scored.items():
            metrics.update(result.flat(part, who))
            if part == "test":
                results.append(result)
                names.append(who)

    decayed = LIVE_DECAYED
    if config.eval.baselines and set(config.eval.protocols) != {"live"}:
        chosen = choose_decayed_pairs(problem.sequence, problem.split.val, quiet=options.quiet)
        decayed = (chosen.decay, chosen.eps)
        _log.info("decayed_pairs: decay %g, eps %g by validation MAP", *decayed)
    for protocol in config.eval.protocols:
        if protocol == "live":
            keep("test", _live(networks, config, problem, options))
            continue
        for part, steps in problem.scored(config.eval.parts).items():
            predictors = _trained(networks, config, problem, options, online=protocol != "fixed")
            if config.eval.baselines:
                predictors |= untrained(problem.sequence, decayed)
            scored = evaluate_fixed(
                predictors, problem.sequence, steps,
                protocol=protocol, ties=config.eval.ties, filtered=config.eval.filtered,
                many=config.eval.one_vs_many, seed=options.seed,
                memory_mb=config.eval.memory_mb, quiet=options.quiet,
            )  # fmt: skip
            keep(part, scored)
    return metrics, results, names


def _trained(
    networks: Mapping[str, GraphNetwork],
    config: TrainConfig,
    problem: Problem,
    options: RunOptions,
    *,
    online: bool,
) -> dict[str, LinkPredictor]:
    builder, nodes = InputBuilder(problem.network), problem.sequence.num_nodes
    if not online:
        return {who: TrainedLinks(net, builder, nodes) for who, net in networks.items()}
    return {
        who: _online(
            copy.deepcopy(net), config, builder, nodes, options, learn_from=problem.split.val.start
        )
        for who, net in networks.items()
    }


def _online(
    network: GraphNetwork,
    config: TrainConfig,
    builder: InputBuilder,
    num_nodes: int,
    options: RunOptions,
    *,
    learn_from: int = 1,
) -> OnlineLinks:
    objective = LinkObjective(config.negatives, config.head, config.model.context)
    return OnlineLinks(
        network, builder, num_nodes,
        objective=objective, online=config.online, lr=config.optim.lr, seed=options.seed,
        learn_from=learn_from,
    )  # fmt: skip


def untrained(
    sequence: SnapshotSequence, decayed: tuple[float, float] = LIVE_DECAYED
) -> dict[str, LinkPredictor]:
    """The baselines of every protocol; `decayed` = decay and eps of DecayedPairs."""
    nodes, directed = sequence.num_nodes, sequence.directed
    return {
        "persistence": Persistence(nodes, directed=directed),
        "decayed_pairs": DecayedPairs(nodes, *decayed, directed=directed),
        "pair_memory_seen": PairMemory(nodes, "seen", directed=directed),
        "pair_memory_count": PairMemory(nodes, "count", directed=directed),
        "pair_memory_window": PairMemory(nodes, "window", window=WINDOW_STEPS, directed=directed),
    }


def _live(
    networks: Mapping[str, GraphNetwork],
    config: TrainConfig,
    problem: Problem,
    options: RunOptions,
) -> dict[str, LinkResult]:
    """Networks of the same sizes, untrained, that learn step by step."""
    sequence = problem.live
    assert sequence is not None
    first = next(iter(networks.values())).config
    # No step is known beforehand: the width is that of the configuration, not of the degrees.
    width = first.feature_dim
    if not first.columns:
        bins = 1 + sequence.num_nodes.bit_length()
        width = bins if first.features.degree == "log_bins" else config.features.max_degree + 1
    fresh: dict[str, LinkPredictor] = {}
    for who, network in networks.items():
        sizes = replace(network.config, feature_dim=width, directed=True)
        torch.manual_seed(options.seed)
        fresh[who] = _online(
            GraphNetwork(sizes), config, InputBuilder(sizes), sequence.num_nodes, options
        )
    if config.eval.baselines:
        fresh |= untrained(sequence)
    return evaluate_live(
        fresh, sequence,
        seed=options.seed, many=config.eval.live_negatives,
        split_by=_split_by(config, sequence), quiet=options.quiet,
    )  # fmt: skip


def _split_by(config: TrainConfig, sequence: SnapshotSequence) -> SplitBy:
    """Edges where weights are their numbers, pairs where the data bring weights of their own."""
    whole = all(bool((snapshot.weight % 1 == 0).all()) for snapshot in sequence)
    return "edges" if whole and config.data.columns.weight is None else "pairs"
