"""Our side of the graph benchmark: the released code's computation by this library's parts.

The snapshots are made here of the edges that the peer reads, so that both see the same graph; what
is built once and kept (normalised snapshots, degrees) is built in `warm_up`.
"""

import timing

timing.one_thread()

import numpy as np  # noqa: E402
import torch  # noqa: E402
from graphs_peer import GATES, Peer, Setting  # noqa: E402
from graphs_raw import RawEdges  # noqa: E402
from graphs_stages import TRAIN  # noqa: E402
from stages import Run, Stages  # noqa: E402
from torch import Tensor  # noqa: E402

from graphs.config import NegativesConfig, TrainConfig  # noqa: E402
from graphs.data.snapshots import Snapshot, SnapshotSequence, merge_pairs  # noqa: E402
from graphs.evaluation.all_pairs import PairMetrics, all_pairs_metrics  # noqa: E402
from graphs.evolvegcn import EvolveGCN  # noqa: E402
from graphs.graph_data import GraphData  # noqa: E402
from graphs.heads import PairDecoder  # noqa: E402
from graphs.inputs import InputBuilder, feature_width  # noqa: E402
from graphs.model_config import HeadConfig, ModelConfig, NetworkConfig  # noqa: E402
from graphs.network import GraphNetwork  # noqa: E402
from graphs.objectives import build_objective  # noqa: E402
from graphs.scorer import PairScorer  # noqa: E402
from graphs.walk import TrainedLinks  # noqa: E402


class Ours:
    """Network, optimiser and data of one run, by the settings of the peer.

    Args:
        raw: Edges.
        setting: Hyperparameters.
    """

    def __init__(self, raw: RawEdges, setting: Setting) -> None:
        torch.manual_seed(setting.seed)
        self.setting, self.sequence = setting, snapshots(raw)
        self.config = TrainConfig(
            ibm_compat=True,
            model=ModelConfig(
                version=setting.kind, hidden_dim=setting.width, state="window",
                context=setting.context,
            ),
            head=HeadConfig(
                hidden_dim=setting.decoder_width, class_weights=list(setting.class_weights)
            ),
            negatives=NegativesConfig(mult=float(setting.negatives)),
        )  # fmt: skip
        width, columns = feature_width(
            self.sequence, self.config.features, train_steps=len(self.sequence)
        )
        network = NetworkConfig(
            task="link", model=self.config.model, features=self.config.features,
            head=self.config.head, structure=self.config.structure, feature_dim=width,
            columns=columns, num_classes=2,
        )  # fmt: skip
        self.network = GraphNetwork(network)
        self.builder = InputBuilder(network)
        self.data = GraphData(self.sequence, self.builder)
        self.objective = build_objective(self.config)
        # As the training command: one optimiser of all weights stands for two of equal rate.
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=setting.learning_rate, weight_decay=0.0, fused=True
        )

    def warm_up(self) -> timing.Seconds:
        """Build what is kept of every snapshot; a run does it once, whatever its epochs."""
        return timing.timed(lambda: [self.data.input(t) for t in range(len(self.sequence))])

    def train_step(self, t: int) -> Run:
        """One sample, forward and backward; times by stage.

        Negatives belong to the decoder's stage: the objective draws them.
        """
        stages = Stages()
        self.network.train()
        with stages.stage(TRAIN[1]):
            x = self.network.inputs_of_decoder(self.embed(t), None)
        with stages.stage("negatives + decoder + loss"):
            loss = self.objective.loss(self.network, x, self.data, t)
            assert loss is not None
        with stages.stage(TRAIN[3]):
            loss.backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        return stages.run

    def epoch(self, steps: range) -> list[Run]:
        """All samples of an epoch; times of each by stage."""
        return [self.train_step(t) for t in steps]

    def embed(self, t: int) -> Tensor:
        """Embeddings after step t."""
        assert self.network.embedder is not None
        embedding: Tensor = self.network.embedder(self.data.window(t, self.setting.context))[0]
        return embedding

    def before(self, t: int) -> TrainedLinks:
        """The predictor as it stands before step t."""
        links = TrainedLinks(self.network, self.builder, self.sequence.num_nodes)
        for past in range(max(0, t - self.setting.context), t):
            links.update(self.sequence[past])
        return links

    def test_step(self, links: TrainedLinks, t: int) -> PairMetrics:
        """Take in step t; MAP and MRR of all pairs of t + 1."""
        links.update(self.sequence[t])
        return all_pairs_metrics(links, self.sequence[t + 1].edge_index)

    @torch.no_grad()
    def take_weights(self, peer: Peer) -> None:
        """Copy the peer's parameters, so that both compute the same."""
        embedder, decoder = self.network.embedder, self.network.decoder
        assert isinstance(embedder, EvolveGCN) and isinstance(decoder, PairDecoder)
        for ours, theirs in zip(embedder.layers, peer.layers, strict=True):
            cell = ours.evolution.cell
            for name, part in (("of_input", "W"), ("of_weight", "U"), ("bias", "B")):
                gates = [getattr(theirs.cell, f"{part}_{gate}") for gate in GATES]
                getattr(cell, name).copy_(torch.stack(gates))
            cell.initial.copy_(theirs.initial)
            if ours.score is not None:
                ours.score.copy_(theirs.scorer[:, 0])
        for own, other in ((decoder.hidden, peer.decoder[0]), (decoder.out, peer.decoder[2])):
            own.load_state_dict(other.state_dict())


def check_metrics(
    peer: tuple[float, float], scorer: PairScorer, positives: Tensor, slack: float = 0.01
) -> None:
    """Hold AP and MRR of the peer to ours.

    Its tied ranks are arbitrary, so its MRR may lie anywhere between the best and the worst ranks.

    Raises:
        AssertionError: They differ by more than rounding can do.
    """
    best, worst = (
        all_pairs_metrics(scorer, positives, ties=ties) for ties in ("optimistic", "pessimistic")
    )
    ap, mrr = peer
    if abs(ap - best.ap) > slack * best.ap:
        raise AssertionError(f"AP of the peer {ap:.6f}, ours {best.ap:.6f}")
    if not (1 - slack) * worst.mrr <= mrr <= (1 + slack) * best.mrr:
        raise AssertionError(f"MRR of the peer {mrr:.6f}, ours {worst.mrr:.6f} to {best.mrr:.6f}")


def snapshots(raw: RawEdges) -> SnapshotSequence:
    """The graph step by step, as our readers would give it."""
    made = []
    for step in range(raw.num_steps):
        at = raw.step == step
        source, target = (torch.from_numpy(ends[at]) for ends in (raw.source, raw.target))
        index, weight, _ = merge_pairs(
            source, target, torch.ones(len(source)), num_nodes=raw.num_nodes, directed=False
        )
        made.append(Snapshot(raw.num_nodes, index, weight))
    return SnapshotSequence(raw.name, tuple(made), np.arange(raw.num_nodes), step_s=raw.step_s)
