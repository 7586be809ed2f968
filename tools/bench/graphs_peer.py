"""The computation of EvolveGCN's released code, written anew step by step, timed stage by stage.

    python tools/bench/graphs_peer.py UCI_FILE [--kinds o h] [--samples 10] [--test-steps 3]

It is the peer of graphs_bench.py and reads the data itself. Everything that the released code does
in vectors is in vectors here, what it does in Python loops (negatives, rows of the MRR) is in
loops. Where its description leaves a choice: reversed edges are appended once, when the file is
read; samples are made in this process, without a DataLoader; metrics are those of the test alone
(no running metrics in training); the AP is sorted as scikit-learn's is. Times are CPU seconds.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import timing

timing.one_thread()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from graphs_raw import RawEdges, read_uci  # noqa: E402
from graphs_stages import RELEASED, TEST, TRAIN  # noqa: E402
from page import Page  # noqa: E402
from stages import HEADER, Run, Stages, mean_of, median_of, shares  # noqa: E402
from torch import Tensor, nn  # noqa: E402

INF = float("inf")
GATES = ("update", "reset", "new")


@dataclass(frozen=True)
class Setting:
    """Hyperparameters; the defaults are those of UCI messages, -O and -H."""

    kind: Literal["o", "h"] = "o"
    width: int = 100
    decoder_width: int = 100
    class_weights: tuple[float, float] = (0.1, 0.9)
    negatives: int = 50
    """For each positive."""
    learning_rate: float = 0.001
    context: int = 10
    chunk: int = 100_000
    """Pairs that the decoder takes at a time."""
    seed: int = 1234


OTC = {
    "o": Setting("o", 100, 400, (0.05, 0.95), 100, 0.01),
    "h": Setting("h", 33, 400, (0.05, 0.95), 100, 0.005),
}


class Sample(NamedTuple):
    """What one time step is computed from."""

    adjacencies: list[Tensor]
    """Sparse, normalised; of the context, then of the step itself."""
    features: list[Tensor]
    """Sparse one-hot degrees."""
    masks: list[Tensor]
    """0 for nodes with an edge, else -inf; [nodes]."""
    pairs: Tensor
    """Positives, then negatives; [2, pairs]."""
    labels: Tensor


class MatrixGru(nn.Module):
    """The cell, gate by gate."""

    def __init__(self, rows: int, cols: int) -> None:
        super().__init__()
        for gate in GATES:
            for name, shape in (("W", (rows, rows)), ("U", (rows, rows)), ("B", (rows, cols))):
                start = torch.zeros(shape) if name == "B" else _uniform(*shape)
                self.register_parameter(f"{name}_{gate}", nn.Parameter(start))

    def forward(self, x: Tensor, q: Tensor) -> Tensor:
        """New weight from the input and the weight so far, all [rows, cols]."""
        update, reset = (torch.sigmoid(self._gate(name, x, q)) for name in ("update", "reset"))
        new = torch.tanh(self._gate("new", x, reset * q))
        return (1 - update) * q + update * new

    def _gate(self, name: str, x: Tensor, q: Tensor) -> Tensor:
        W, U, B = (getattr(self, f"{part}_{name}") for part in "WUB")
        return W.matmul(x) + U.matmul(q) + B


class Layer(nn.Module):
    """Weight evolution and graph convolution of all steps."""

    def __init__(self, rows: int, cols: int, kind: str) -> None:
        super().__init__()
        self.kind, self.cols = kind, cols
        self.cell, self.initial = MatrixGru(rows, cols), nn.Parameter(_uniform(rows, cols))
        self.scorer = nn.Parameter(_uniform(1, rows).T.contiguous())
        self.activation = nn.RReLU()

    def forward(
        self, adjacencies: list[Tensor], inputs: list[Tensor], masks: list[Tensor]
    ) -> list[Tensor]:
        """Embeddings of every step."""
        weight, outputs = self.initial, []
        for adjacency, nodes, mask in zip(adjacencies, inputs, masks, strict=True):
            x = weight if self.kind == "o" else self._summary(nodes, mask)
            weight = self.cell(x, weight)
            outputs.append(self.activation(adjacency.matmul(nodes.matmul(weight))))
        return outputs

    def _summary(self, nodes: Tensor, mask: Tensor) -> Tensor:
        """The best nodes, as columns."""
        score = nodes.matmul(self.scorer).view(-1) / self.scorer.norm() + mask
        value, chosen = score.topk(self.cols)
        chosen = chosen[value > -INF]
        if len(chosen) < self.cols:
            chosen = torch.cat([chosen, chosen[-1:].expand(self.cols - len(chosen))])
        dense = nodes.to_dense() if nodes.is_sparse else nodes
        return (dense[chosen] * torch.tanh(score[chosen])[:, None]).T


class Peer:
    """Model, optimisers and data of one run."""

    def __init__(self, raw: RawEdges, setting: Setting) -> None:
        torch.manual_seed(setting.seed)
        self.setting, self.num_nodes = setting, raw.num_nodes
        self.random = np.random.RandomState(setting.seed)
        both = [(raw.source, raw.target, raw.step), (raw.target, raw.source, raw.step)]
        self.edges = torch.cat([torch.from_numpy(np.stack(each, 1)) for each in both])
        # Over all steps but the last, which no sample reads.
        self.features = 1 + max(
            int(self._degrees(self._pairs(t)[0]).max()) for t in range(raw.num_steps - 1)
        )
        self.layers = nn.ModuleList(
            Layer(rows, setting.width, setting.kind) for rows in (self.features, setting.width)
        )
        self.decoder = nn.Sequential(
            nn.Linear(2 * setting.width, setting.decoder_width),
            nn.ReLU(),
            nn.Linear(setting.decoder_width, 2),
        )
        self.optimizers = [
            torch.optim.Adam(module.parameters(), lr=setting.learning_rate)
            for module in (self.layers, self.decoder)
        ]
        self.alpha = torch.tensor(setting.class_weights)

    def train_step(self, t: int) -> Run:
        """One sample, forward and backward; times by stage."""
        stages = Stages()
        with stages.stage(TRAIN[0]):
            sample = self.sample(t)
        with stages.stage(TRAIN[1]):
            nodes = self.embed(sample)
        with stages.stage(TRAIN[2]):
            loss = self.loss(self.decode(nodes, sample.pairs), sample.labels)
        with stages.stage(TRAIN[3]):
            loss.backward()
            for optimizer in self.optimizers:
                optimizer.step()
            for optimizer in self.optimizers:
                optimizer.zero_grad()
        return stages.run

    def epoch(self, steps: range) -> list[Run]:
        """All samples of an epoch; times of each by stage."""
        return [self.train_step(t) for t in steps]

    @torch.no_grad()
    def test_step(self, t: int) -> tuple[Run, dict[str, float]]:
        """Scores of all pairs and their metrics; times by stage, then AP and MRR."""
        stages = Stages()
        with stages.stage(TEST[0]):
            sample = self.sample(t, all_pairs=True)
        with stages.stage(TEST[1]):
            logits = self.decode(self.embed(sample), sample.pairs)
            scores = torch.softmax(logits, 1)[:, 1].numpy()
        with stages.stage(TEST[2]):
            labels = sample.labels.numpy()
            found = {
                "map": average_precision(scores, labels),
                "mrr": mean_reciprocal_rank(scores, labels, sample.pairs.numpy(), self.num_nodes),
            }
        return stages.run, found

    def sample(self, t: int, *, all_pairs: bool = False) -> Sample:
        """Snapshots t - context .. t, and the pairs of t + 1 with negatives."""
        adjacencies, features, masks, active = [], [], [], []
        for step in range(t - self.setting.context, t + 1):
            pairs, weight = self._pairs(step)
            active.append(pairs.unique())
            masks.append(torch.full((self.num_nodes,), -INF).index_fill_(0, active[-1], 0.0))
            features.append(self._one_hot(self._degrees(pairs)))
            adjacencies.append(self._normalised(pairs, weight))
        positives = self._pairs(t + 1)[0]
        if all_pairs:
            negatives = self._other_pairs(positives)
        else:
            negatives = self._drawn_pairs(positives, torch.cat(active).numpy())
        labels = torch.ones(positives.shape[1] + negatives.shape[1], dtype=torch.long)
        labels[positives.shape[1] :] = 0
        return Sample(adjacencies, features, masks, torch.cat([positives, negatives], 1), labels)

    def embed(self, sample: Sample) -> Tensor:
        """Embeddings after the last snapshot; every layer convolves every snapshot."""
        nodes = sample.features
        for layer in self.layers:
            nodes = layer(sample.adjacencies, nodes, sample.masks)
        return nodes[-1]

    def decode(self, nodes: Tensor, pairs: Tensor) -> Tensor:
        """Logits of the pairs, chunk by chunk."""
        return torch.cat(
            [
                self.decoder(torch.cat([nodes[chunk[0]], nodes[chunk[1]]], dim=1))
                for chunk in pairs.split(self.setting.chunk, dim=1)
            ]
        )

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean of alpha_y CE over the pairs."""
        entropy = torch.logsumexp(logits, 1) - logits.gather(1, labels[:, None])[:, 0]
        return (self.alpha[labels] * entropy).mean()

    def _pairs(self, step: int) -> tuple[Tensor, Tensor]:
        """Pairs [2, pairs] of a step, each once, and how often each is there."""
        ends = self.edges[(self.edges[:, 2] <= step) & (self.edges[:, 2] > step - 1)][:, :2].T
        merged = self._sparse(ends, torch.ones(ends.shape[1]), self.num_nodes).coalesce()
        return merged.indices(), merged.values()

    def _degrees(self, pairs: Tensor) -> Tensor:
        ones = self._sparse(pairs, torch.ones(pairs.shape[1]), self.num_nodes)
        return ones.matmul(torch.ones(self.num_nodes, 1)).view(-1).long()

    def _one_hot(self, degrees: Tensor) -> Tensor:
        rows = torch.arange(self.num_nodes)
        return self._sparse(torch.stack([rows, degrees]), torch.ones(len(rows)), self.features)

    def _normalised(self, pairs: Tensor, weight: Tensor) -> Tensor:
        loops = torch.arange(self.num_nodes).expand(2, -1)
        looped = self._sparse(pairs, weight, self.num_nodes)
        looped = looped + self._sparse(loops, torch.ones(self.num_nodes), self.num_nodes)
        looped = looped.coalesce()
        degree = torch.sparse.sum(looped, dim=1).to_dense()
        i, j = looped.indices()
        scaled = looped.values() * (degree[i] * degree[j]) ** -0.5
        return self._sparse(looped.indices(), scaled, self.num_nodes)

    def _sparse(self, index: Tensor, values: Tensor, columns: int) -> Tensor:
        return torch.sparse_coo_tensor(
            index, values, (self.num_nodes, columns), check_invariants=False
        )

    def _drawn_pairs(self, positives: Tensor, active: np.ndarray) -> Tensor:
        """Sources of positives with targets active in the window, four times too many, sieved."""
        sources, targets = positives.numpy()
        known = set((sources * self.num_nodes + targets).tolist())
        count = min(self.setting.negatives * len(sources), len(sources) * (len(sources) - 2))
        drawn = np.stack(
            [self.random.choice(sources, 4 * count), self.random.choice(active, 4 * count)]
        )
        numbers = drawn[0] * self.num_nodes + drawn[1]
        taken: set[int] = set()
        kept: list[int] = []
        for place in range(4 * count):
            number = numbers[place]
            if drawn[0, place] == drawn[1, place] or number in known or number in taken:
                continue
            taken.add(number)
            kept.append(place)
            if len(kept) == count:
                break
        return torch.from_numpy(drawn[:, kept])

    def _other_pairs(self, positives: Tensor) -> Tensor:
        """All pairs of nodes that are not positives."""
        nodes = np.arange(self.num_nodes)
        pairs = np.array(np.meshgrid(nodes, nodes)).reshape(2, -1)
        known = positives[0].numpy() * self.num_nodes + positives[1].numpy()
        other = ~np.isin(pairs[0] * self.num_nodes + pairs[1], known)
        return torch.from_numpy(pairs[:, other])


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Area under the steps of the precision-recall curve, by one sort of all pairs."""
    order = np.argsort(scores, kind="mergesort")[::-1]
    scores, labels = scores[order], labels[order]
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # of every threshold
    hits = np.cumsum(labels, dtype=np.float64)[last]
    return float((np.diff(hits, prepend=0.0) / hits[-1] * (hits / (1 + last))).sum())


def mean_reciprocal_rank(
    scores: np.ndarray, labels: np.ndarray, pairs: np.ndarray, num_nodes: int
) -> float:
    """Mean over sources of the mean of 1 / rank of their positives; a full sort of every row."""
    from scipy.sparse import coo_matrix

    shape, place = (num_nodes, num_nodes), (pairs[0], pairs[1])
    dense, truth = (coo_matrix((of, place), shape).toarray() for of in (scores, labels))
    rows = []
    for row, positive in zip(dense, truth, strict=True):
        if np.isin(1, positive):
            ranks = 1 + np.flatnonzero(positive[row.argsort()[::-1]] == 1)
            rows.append((1 / ranks).mean())
    return float(np.mean(rows))


def _uniform(rows: int, cols: int) -> Tensor:
    return torch.empty(rows, cols).uniform_(-(cols**-0.5), cols**-0.5)


def main() -> None:
    """Print the stages of training and test steps beside those of the released code."""
    parser = timing.parser(__doc__)
    parser.add_argument("path", type=Path, help="out.opsahl-ucsocial")
    parser.add_argument("--kinds", nargs="+", choices=["o", "h"], default=["o", "h"])
    parser.add_argument("--samples", type=int, default=10, help="the first so many")
    parser.add_argument("--test-steps", type=int, default=3)
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    timing.print_versions("torch", "numpy", "scipy")
    raw = read_uci(args.path)
    peers = {kind: Peer(raw, Setting(kind)) for kind in args.kinds}
    steps, tests = raw.train_steps(0.71)[: args.samples], raw.test_steps(0.71)[: args.test_steps]
    trained = timing.take_turns(
        {kind: partial(peer.epoch, steps) for kind, peer in peers.items()}, args.turns
    )
    page = Page("EvolveGCN as released: stages")
    for kind, peer in peers.items():
        page.section(
            f"-{kind.upper()}, {peer.features} features",
            f"Mean of samples {steps.start} to {steps.stop - 1}, median of {args.turns} turns; "
            f"median of {len(tests)} test steps.",
            HEADER,
        )
        found = {
            "train": median_of([mean_of(runs) for runs in trained[kind]]),
            "test": median_of([mean_of([peer.test_step(t)[0]]) for t in tests]),
        }
        for part, seconds in found.items():
            page.rows(shares(seconds, RELEASED[kind][part]))


if __name__ == "__main__":
    main()
