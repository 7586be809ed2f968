"""Random changing graphs: for tests, first steps and measurements."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray
from torch import Tensor

from foretell.errors import UserError
from graphs.data.events import EdgeEvents, build_sequence
from graphs.data.snapshots import SnapshotSequence
from graphs.data_config import DataConfig, GeneratorConfig


def generate_sbm(generator: GeneratorConfig, config: DataConfig | None = None) -> SnapshotSequence:
    """A stochastic block model whose nodes migrate between communities.

    Communities begin equal in size. At each later step `migrating` nodes, drawn anew, move to
    another community. A step's number of edges inside communities and between them is binomial,
    which pairs have one is uniform: the block model. An undirected pair
    counts as two directed edges of weight 1.

    Args:
        generator: Sizes and seed.
        config: `directed`, `max_steps` and `drop_empty` are used; none = the defaults.

    Returns:
        Snapshots with the communities as `node_label`.

    Raises:
        UserError: Sizes that fit no such graph.
    """
    config = config or DataConfig(kind="generated")
    _check_sizes(generator, directed=config.directed)
    communities = _communities(generator)
    sources, targets, steps = [], [], []
    for step, community in enumerate(communities):
        rng = np.random.default_rng([generator.seed, 1, step])
        source, target = _block_edges(generator, community, rng, directed=config.directed)
        sources.append(source)
        targets.append(target)
        steps.append(np.full(len(source), step))
    events = EdgeEvents(
        name="generated",
        source=np.concatenate(sources),
        target=np.concatenate(targets),
        node_ids=np.arange(generator.num_nodes),
        step=np.concatenate(steps),
        class_names=tuple(f"community {number}" for number in range(generator.num_communities)),
    )

    def fields(step: int) -> dict[str, Tensor]:
        return {"node_label": torch.from_numpy(communities[step])}

    return build_sequence(events, config, first_step=0, num_steps=generator.num_steps, nodes=fields)


def heavy_tailed(
    num_nodes: int,
    num_steps: int,
    edges_per_step: int,
    seed: int = 0,
    *,
    repeated: float = 0.5,
    exponent: float = 2.5,
    config: DataConfig | None = None,
) -> SnapshotSequence:
    """Snapshots with heavy-tailed degrees in which pairs meet again: see `heavy_tailed_events`."""
    events = heavy_tailed_events(
        num_nodes, num_steps, edges_per_step, seed, repeated=repeated, exponent=exponent
    )
    return build_sequence(events, config or DataConfig(), first_step=0, num_steps=num_steps)


def heavy_tailed_events(
    num_nodes: int,
    num_steps: int,
    edges_per_step: int,
    seed: int = 0,
    *,
    repeated: float = 0.5,
    exponent: float = 2.5,
) -> EdgeEvents:
    """Edges between nodes of very unequal activity; some pairs come back from earlier steps.

    Both ends of a new edge are drawn with a chance proportional to rank^(-1/(exponent-1)), so that
    degrees have a tail of that exponent. A repeated edge is a pair of one of the last 3 steps.

    Args:
        num_nodes: Nodes, not all of which get an edge.
        num_steps: Steps.
        edges_per_step: Edges, of which some share a pair or are a self-loop.
        seed: Of all draws.
        repeated: Share of a step's edges that repeat a pair.
        exponent: Of the tail of degrees, above 2.

    Raises:
        ValueError: A size below 1, or a share or exponent out of range.
    """
    if min(num_nodes, num_steps, edges_per_step) < 1:
        raise ValueError(
            f"sizes must be at least 1, got {num_nodes}, {num_steps}, {edges_per_step}"
        )
    if not (0 <= repeated <= 1 and exponent > 2):
        raise ValueError(
            f"repeated must lie in [0, 1] and exponent above 2, got {repeated}, {exponent}"
        )
    rng = np.random.default_rng(seed)
    names = rng.permutation(num_nodes)
    # Of density x^(-a) on (0, 1), a < 1, the quantile is u^(1 / (1 - a)).
    power = (exponent - 1) / (exponent - 2)
    pairs = np.empty((2, num_steps, edges_per_step), np.int64)
    for step in range(num_steps):
        again = int(repeated * edges_per_step) if step else 0
        fresh = (num_nodes * rng.random((2, edges_per_step - again)) ** power).astype(np.int64)
        pairs[:, step, again:] = names[fresh]
        past = pairs[:, max(0, step - 3) : step].reshape(2, -1)
        if again:
            pairs[:, step, :again] = past[:, rng.integers(0, past.shape[1], again)]
    return EdgeEvents(
        name="heavy-tailed",
        source=pairs[0].ravel(),
        target=pairs[1].ravel(),
        node_ids=np.arange(num_nodes),
        step=np.repeat(np.arange(num_steps), edges_per_step),
    )


def write_elliptic(
    folder: Path,
    *,
    num_steps: int = 20,
    nodes_per_step: int = 100,
    num_features: int = 16,
    edges_per_node: float = 1.5,
    known: float = 0.5,
    illicit: float = 0.2,
    seed: int = 0,
) -> Path:
    """Write a random data set in the four-file layout of Elliptic; see `graphs.data.elliptic`.

    Nodes live for one step. A node's score is the dot product of its own features and its
    neighbours' mean ones with a direction that turns slowly with time, plus noise; the highest
    scores of a step are illicit. Neighbours resemble each other in their first feature.

    Args:
        folder: Made when missing.
        num_steps: Steps, from 0.
        nodes_per_step: Transactions of a step.
        num_features: Beside the time step.
        edges_per_node: Directed edges over nodes.
        known: Share of the nodes whose class is told.
        illicit: Share of the nodes that are illicit.
        seed: Of all draws.

    Returns:
        The folder.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    total = num_steps * nodes_per_step
    ids = rng.choice(10 * total, total, replace=False) + 1000
    step = np.repeat(np.arange(num_steps), nodes_per_step)
    x = rng.normal(size=(total, num_features))
    num_edges = max(1, int(edges_per_node * nodes_per_step))
    edges = []
    label = np.zeros(total, np.int64)
    first, second = np.linalg.qr(rng.normal(size=(num_features, 2)))[0].T
    for number in range(num_steps):
        members = number * nodes_per_step + np.arange(nodes_per_step)
        members = members[np.argsort(x[members, 0])]
        source = rng.integers(0, nodes_per_step, num_edges)
        hop = 1 + rng.integers(0, max(1, nodes_per_step // 10), num_edges)
        pair = np.stack([members[source], members[(source + hop) % nodes_per_step]])
        angle = 2 * np.pi * number / max(num_steps, 12)
        direction = np.cos(angle) * first + np.sin(angle) * second
        own = x @ direction
        near = np.zeros(total)
        count = np.zeros(total)
        for one, other in (pair, pair[::-1]):
            np.add.at(near, one, own[other])
            np.add.at(count, one, 1)
        score = own + near / np.maximum(count, 1) + 0.1 * rng.normal(size=total)
        chosen = members[np.argsort(-score[members])[: int(illicit * nodes_per_step)]]
        label[chosen] = 1
        edges.append(np.column_stack([ids[pair[0]], ids[pair[1]], np.full(num_edges, number)]))
    told = np.where(rng.random(total) < known, label, -1)
    rows = np.column_stack([ids, step + 1, x])
    formats = ["%d", "%d", *["%.6g"] * num_features]
    np.savetxt(folder / "elliptic_txs_features.csv", rows, fmt=formats, delimiter=",")
    for name, header, table in (
        ("classes", "txId,class", np.column_stack([ids, told])),
        ("nodetime", "txId,timestep", np.column_stack([ids, step])),
        ("edgelist_timed", "txId1,txId2,timestep", np.concatenate(edges)),
    ):
        path = folder / f"elliptic_txs_{name}.csv"
        np.savetxt(path, table, fmt="%d", delimiter=",", header=header, comments="")
    return folder


def _check_sizes(generator: GeneratorConfig, *, directed: bool) -> None:
    nodes, blocks = generator.num_nodes, generator.num_communities
    if min(blocks, generator.num_steps) < 1 or nodes < 2 * blocks:
        raise UserError(
            f"data.generator: {nodes} nodes in {blocks} communities over {generator.num_steps} "
            "steps; every community needs at least 2 nodes, and a step must be left"
        )
    if not 0 <= generator.inside_share <= 1 or not 0 <= generator.migrating <= nodes:
        raise UserError("data.generator: inside_share must lie in [0, 1], migrating in [0, nodes]")
    if generator.edges_per_step < 1:
        raise UserError(
            f"data.generator.edges_per_step must be at least 1, got {generator.edges_per_step}"
        )
    smallest = nodes // blocks
    room = {"inside": blocks * smallest * (smallest - 1), "between": nodes * (nodes - smallest)}
    wanted = generator.edges_per_step * generator.inside_share
    for part, edges in (("inside", wanted), ("between", generator.edges_per_step - wanted)):
        if edges > 0.5 * room[part]:
            raise UserError(
                f"data.generator: {edges:.0f} edges {part} communities are more than half of the "
                f"{room[part]} pairs; lower edges_per_step or raise num_nodes"
            )


def _communities(generator: GeneratorConfig) -> list[Int64[ndarray, " nodes"]]:
    """Community of every node at every step."""
    rng = np.random.default_rng([generator.seed, 0])
    blocks = generator.num_communities
    community = rng.permutation(np.arange(generator.num_nodes) % blocks)
    steps = [community]
    for _ in range(generator.num_steps - 1):
        community = community.copy()
        if blocks > 1:
            movers = rng.choice(generator.num_nodes, generator.migrating, replace=False)
            hop = rng.integers(1, blocks, len(movers))
            community[movers] = (community[movers] + hop) % blocks
        steps.append(community)
    return steps


def _block_edges(
    generator: GeneratorConfig,
    community: Int64[ndarray, " nodes"],
    rng: np.random.Generator,
    *,
    directed: bool,
) -> tuple[Int64[ndarray, " edges"], Int64[ndarray, " edges"]]:
    """The edges of one step: inside communities, then between them."""
    nodes = len(community)
    members = np.argsort(community, kind="stable")
    size = np.bincount(community, minlength=generator.num_communities)
    begin = np.cumsum(size) - size
    inside_pairs = size * (size - 1)

    def inside(count: int) -> tuple[ndarray, ndarray]:
        block = rng.choice(len(size), count, p=inside_pairs / inside_pairs.sum())
        one = rng.integers(0, size[block])
        other = rng.integers(0, size[block] - 1)
        other += other >= one
        return members[begin[block] + one], members[begin[block] + other]

    def between(count: int) -> tuple[ndarray, ndarray]:
        one, other = rng.integers(0, nodes, (2, count))
        apart = community[one] != community[other]
        return one[apart], other[apart]

    expected_inside = generator.edges_per_step * generator.inside_share
    expected = (expected_inside, generator.edges_per_step - expected_inside)
    rooms = (int(inside_pairs.sum()), nodes * (nodes - 1) - int(inside_pairs.sum()))
    found = []
    for draw, edges, room in zip((inside, between), expected, rooms, strict=True):
        ways = room if directed else room // 2
        count = rng.binomial(ways, edges / room) if edges else 0
        found.append(_distinct(draw, int(count), nodes, directed=directed))
    keys = np.concatenate(found)
    return keys // nodes, keys % nodes


def _distinct(
    draw: Callable[[int], tuple[ndarray, ndarray]], count: int, nodes: int, *, directed: bool
) -> Int64[ndarray, " count"]:
    """The first `count` distinct pairs drawn, as source * nodes + target."""
    keys = np.empty(0, np.int64)
    while len(keys) < count:
        one, other = draw(int(1.2 * (count - len(keys))) + 16)
        if not directed:
            one, other = np.minimum(one, other), np.maximum(one, other)
        keys = np.concatenate([keys, one * nodes + other])
        _, first = np.unique(keys, return_index=True)
        keys = keys[np.sort(first)]
    return keys[:count]
