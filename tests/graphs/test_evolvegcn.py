"""Networks against dense float64 loops of the equations; what they can and cannot know."""

import copy

import pytest
import torch
from networks import (
    both_ways,
    dense_input,
    layer_parameters,
    one_hot_input,
    random_edges,
    snapshot,
)
from references import evolvegcn, ibm_compat, normalised_adjacency, one_hot_degrees

from foretell.blocks.config import Mamba2Config, MixerConfig, RecurrentConfig
from graphs.config import TrainConfig
from graphs.data.adjacency import Adjacency
from graphs.evolvegcn import EvolveGCN
from graphs.evolving_convolution import EvolvingConvolution
from graphs.gcn_gru import GcnGru
from graphs.inputs import GraphInput
from graphs.model_config import ModelConfig

NODES, STEPS, IN = 9, 5, 6
EDGES = random_edges(NODES, STEPS)
MIXERS = {
    "lstm": MixerConfig(kind="lstm"),
    "mamba2": MixerConfig(kind="mamba2", mamba2=Mamba2Config(head_dim=4)),
    "aaren": MixerConfig(kind="aaren"),
}
VERSIONS = [("h", "gru"), ("o", "lstm"), ("o", "gru")]


def made(version: str, cell: str, in_dim: int = IN, **options) -> EvolveGCN:
    torch.manual_seed(0)
    config = ModelConfig(version=version, cell=cell, hidden_dim=4, **options)
    model = EvolveGCN(config, in_dim).double()
    with torch.no_grad():  # biases of the cells start at zero
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    return model


def features(steps: int = STEPS, dim: int = IN) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return list(torch.randn(steps, NODES, dim, generator=generator, dtype=torch.float64))


def inputs(x: list[torch.Tensor], edges=EDGES) -> list[GraphInput]:
    return [dense_input(NODES, pairs, step) for pairs, step in zip(edges, x, strict=True)]


def adjacencies(edges=EDGES) -> list[torch.Tensor]:
    return [normalised_adjacency(NODES, both_ways(pairs)) for pairs in edges]


def gradients(model, loss) -> dict[str, torch.Tensor]:
    names, parameters = zip(*model.named_parameters(), strict=True)
    return dict(
        zip(names, torch.autograd.grad(loss, parameters, materialize_grads=True), strict=True)
    )


@pytest.mark.parametrize(("version", "cell"), VERSIONS)
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("skip", [False, True])
def test_carried_state_equals_the_equations(version, cell, layers, skip):
    """Values to 1e-12 and the gradient of every parameter; r != c in the first layer."""
    model = made(version, cell, num_layers=layers, skip_features=skip)
    x = features()
    outputs, state = model.every_step(inputs(x))
    expected = evolvegcn(
        version, cell, layer_parameters(model), adjacencies(), x, skip_features=skip
    )
    for ours, theirs in zip(outputs, expected.outputs, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(state[-1].weight[0], expected.weights[-1][-1], rtol=0, atol=1e-12)
    weights = torch.arange(1.0, STEPS + 1)
    ours = gradients(model, sum(w * y.sin().sum() for w, y in zip(weights, outputs, strict=True)))
    theirs = gradients(
        model, sum(w * y.sin().sum() for w, y in zip(weights, expected.outputs, strict=True))
    )
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("version", "cell"), VERSIONS)
def test_window_equals_the_equations(version, cell):
    """One recurrence from W_0 over the window, the last step's embedding."""
    model = made(version, cell, state="window", context=2)
    x = features()
    expected = evolvegcn(
        version, cell, layer_parameters(model), adjacencies(), x, state="window", context=2
    )
    for step in range(STEPS):
        window = inputs(x)[max(0, step - 2) : step + 1]
        ours, _ = model(window)
        torch.testing.assert_close(ours, expected.outputs[step], rtol=1e-12, atol=1e-12)
    ours, theirs = (
        gradients(model, ours.sin().sum()),
        gradients(model, expected.outputs[-1].sin().sum()),
    )
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("version", ["h", "o"])
def test_ibm_compat_equals_the_released_behaviour(version):
    """GRU, window, fixed slope of RReLU in eval mode, nodes without edges out, one-hot degrees."""
    width = 7
    config = TrainConfig(
        ibm_compat=True,
        model=ModelConfig(version=version, hidden_dim=4, state="window", context=3),
    )
    torch.manual_seed(0)
    model = EvolveGCN(config.model, width).double().eval()
    steps = [one_hot_input(NODES, edges, width) for edges in EDGES]
    both = [both_ways(edges) for edges in EDGES]
    hot = [one_hot_degrees(NODES, edges, width) for edges in both]
    expected = ibm_compat(version, layer_parameters(model), both, hot, context=3)
    for step in range(STEPS):
        ours, _ = model(steps[max(0, step - 3) : step + 1])
        torch.testing.assert_close(ours, expected.outputs[step], rtol=1e-12, atol=1e-12)
    assert torch.equal(model(steps)[0], model(steps)[0])


@pytest.mark.parametrize(("version", "cell"), VERSIONS)
def test_one_hot_gathers_equal_the_matrix(version, cell):
    """X W = W[deg], X p = p[deg], and the gradients of both."""
    width = 6
    model = made(version, cell, in_dim=width)
    hot = [one_hot_input(NODES, edges, width) for edges in EDGES]
    dense = [
        GraphInput(step.adjacency, step.features.dense().double(), step.active) for step in hot
    ]
    results = []
    for steps in (hot, dense):
        y, _ = model(steps)
        results.append((y, gradients(model, y.sin().sum())))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-12, atol=1e-12)
    for name in results[0][1]:
        torch.testing.assert_close(results[0][1][name], results[1][1][name], rtol=1e-9, atol=1e-10)


def test_windowed_o_ignores_its_context():
    """The released windowed -O is a static GCN: other graphs before the last change nothing."""
    other = [*random_edges(NODES, STEPS - 1, seed=9), EDGES[-1]]
    x = features()
    y = [*features(STEPS, IN + 1)]
    changed = [*(step[:, :IN] * 3 for step in y[:-1]), x[-1]]
    for cell in ("gru", "lstm"):
        model = made("o", cell, state="window")
        ours, _ = model(inputs(x))
        assert torch.equal(ours, model(inputs(changed, other))[0])
        # ... but the number of evolutions counts.
        assert not torch.equal(ours, model(inputs(x)[1:])[0])


def test_h_sees_its_context():
    other = [*random_edges(NODES, STEPS - 1, seed=9), EDGES[-1]]
    x = features()
    for state in ("window", "carry"):
        model = made("h", "gru", state=state)
        assert not torch.equal(model(inputs(x))[0], model(inputs(x, other))[0])


def test_carried_o_moves_by_itself():
    """W_t differs from step to step, and not with earlier graphs."""
    model = made("o", "lstm")
    x = features()
    _, first = model(inputs(x)[:3])
    _, second = model(inputs(x)[:4])
    assert not torch.equal(first[0].weight, second[0].weight)
    other = inputs([step * 2 for step in x], random_edges(NODES, STEPS, seed=9))
    assert torch.equal(model(other[:4])[1][0].weight, second[0].weight)


@pytest.mark.parametrize(("version", "cell"), VERSIONS)
def test_a_window_of_everything_is_a_carried_state(version, cell):
    window = made(version, cell, state="window")
    carry = made(version, cell, state="carry")
    carry.load_state_dict(window.state_dict())
    steps = inputs(features())
    state = None
    for step in range(STEPS):
        carried, state = carry([steps[step]], state)
        torch.testing.assert_close(carried, window(steps[: step + 1])[0], rtol=0, atol=1e-13)


@pytest.mark.parametrize("mask", [False, True])
def test_summary_of_few_rows_repeats_the_last(mask):
    """Fewer (active) nodes than columns; no node at all gives zeros."""
    torch.manual_seed(0)
    config = ModelConfig(version="h", hidden_dim=20, mask=mask)
    layer = EvolvingConvolution(config, IN, 20, activation="relu").double()
    x = features()[0]
    allowed = snapshot(NODES, EDGES[0]).active if mask else None
    count = NODES if allowed is None else int(allowed.sum())
    summary = layer.summarise(x, allowed)
    assert torch.equal(
        summary[:, count - 1 :], summary[:, count - 1 :][:, :1].expand(-1, 21 - count)
    )
    assert summary.shape == (IN, 20)
    assert not layer.summarise(x, torch.zeros(NODES, dtype=torch.bool)).any()


def test_absent_nodes_are_not_chosen():
    torch.manual_seed(0)
    layer = EvolvingConvolution(
        ModelConfig(version="h", hidden_dim=3), IN, 3, activation="relu"
    ).double()
    x = features()[0]
    step = inputs(features())[0]
    with_all = layer.evolve(layer.evolution.init_state(), step, x)
    best = int((x @ layer.score).argmax())
    present = torch.ones(NODES, dtype=torch.bool)
    present[best] = False
    without = GraphInput(step.adjacency, x, step.active, present)
    changed = x.clone()
    changed[best] *= 100
    evolved = layer.evolve(layer.evolution.init_state(), without, changed)
    assert not torch.equal(evolved.weight, with_all.weight)
    assert torch.equal(
        evolved.weight, layer.evolve(layer.evolution.init_state(), without, x).weight
    )


@pytest.mark.parametrize("version", ["h", "o", "static"])
def test_renaming_nodes_renames_embeddings(version):
    model = made(version, "auto")
    x = features()
    order = torch.randperm(NODES, generator=torch.Generator().manual_seed(3))
    renamed = [[(int(order[u]), int(order[v])) for u, v in edges] for edges in EDGES]
    moved = [torch.empty_like(step).index_copy_(0, order, step) for step in x]
    ours, _ = model(inputs(x))
    torch.testing.assert_close(model(inputs(moved, renamed))[0][order], ours, rtol=0, atol=1e-11)


def test_node_set_may_change():
    """No parameter depends on N; a node without edges is embedded by its own features alone."""
    model = made("h", "gru")
    small = dense_input(NODES, EDGES[0], features()[0])
    more = torch.cat([features()[1], features()[2][:2]])
    large = dense_input(NODES + 2, EDGES[1], more)
    assert model([small, large])[0].shape == (NODES + 2, 4)
    layer, state = model.layers[0], model.init_state()
    weight = state[0].weight[0]
    alone = layer.activate((more @ weight)[-1:])
    torch.testing.assert_close(layer.convolve(large, more, weight)[-1:], alone)


def test_truncated_gradients_of_the_whole_are_whole():
    """every_step in one chunk has the gradients of steps one by one."""
    model = made("h", "gru")
    steps = inputs(features())
    whole, _ = model.every_step(steps)
    one_by_one, state = [], None
    for step in steps:
        y, state = model([step], state)
        one_by_one.append(y)
    ours = gradients(model, sum(y.sin().sum() for y in whole))
    theirs = gradients(model, sum(y.sin().sum() for y in one_by_one))
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("kind", MIXERS)
@pytest.mark.parametrize("version", ["h", "o"])
def test_mixers_start_as_a_static_gcn_and_learn(kind, version):
    """out is zero at first: W_t = W_0; afterwards the weight moves, within its bound."""
    config = ModelConfig(
        version=version, cell="mixer", hidden_dim=4, mixer_bound=0.5,
        mixer=MIXERS[kind],
    )  # fmt: skip
    torch.manual_seed(0)
    model = EvolveGCN(config, 8).double()
    steps = inputs(features(dim=8))
    static = EvolveGCN(ModelConfig(version="static", hidden_dim=4), 8).double()
    for ours, theirs in zip(model.layers, static.layers, strict=True):
        theirs.evolution.initial.data.copy_(ours.evolution.initial)
    torch.testing.assert_close(model(steps)[0], static(steps)[0], rtol=0, atol=1e-12)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.3)
    for _ in range(6):
        optimizer.zero_grad()
        (model(steps)[0] - 1).square().mean().backward()
        optimizer.step()
    _, state = model(steps)
    for layer, own in zip(model.layers, state, strict=True):
        initial = layer.evolution.initial
        moved = (own.weight[0] - initial).norm() / initial.norm()
        assert 1e-3 < float(moved) <= 0.5 + 1e-9


def test_mixers_of_several_layers_are_taken():
    config = ModelConfig(
        cell="mixer", mixer=MixerConfig(kind="gru", recurrent=RecurrentConfig(num_layers=2))
    )
    EvolveGCN(config, IN)
    with pytest.raises(ValueError, match="streamable"):
        EvolveGCN(
            ModelConfig(
                cell="mixer",
                mixer=MixerConfig(kind="gru", recurrent=RecurrentConfig(bidirectional=True)),
            ),
            IN,
        )


@pytest.mark.parametrize("version", ["h", "o", "static", "gcn_gru"])
def test_every_parameter_is_registered_once(version):
    """state_dict, train, eval, deepcopy and double reach every layer."""
    config = ModelConfig(version=version, hidden_dim=4, activation="rrelu")
    torch.manual_seed(0)
    model = (GcnGru if version == "gcn_gru" else EvolveGCN)(config, IN).double()
    parameters = list(model.parameters())
    assert len({id(p) for p in parameters}) == len(parameters)
    assert {id(p) for p in parameters} == {id(p) for p in model.state_dict(keep_vars=True).values()}
    steps = inputs(features())
    twin = copy.deepcopy(model)
    assert not torch.equal(model(steps)[0], model(steps)[0])  # RReLU draws in training
    assert torch.equal(model.eval()(steps)[0], twin.eval()(steps)[0])
    loaded = type(model)(config, IN).double().eval()
    loaded.load_state_dict(model.state_dict())
    assert torch.equal(loaded(steps)[0], model(steps)[0])
    y, _ = model(steps)
    y.sum().backward()
    assert all(parameter.grad is not None for parameter in parameters)


def test_numbers_of_parameters():
    """r = 167, c = 100: 234,134 in the GRU of -O, r more in -H, 306,612 in the LSTM."""

    def count(version, cell):
        config = ModelConfig(version=version, cell=cell, num_layers=1)
        return sum(p.numel() for p in EvolveGCN(config, 167).parameters())

    assert count("o", "gru") == 234_134
    assert count("h", "gru") == 234_134 + 167
    assert count("o", "lstm") == 306_612


def test_released_initialisation():
    """W_0, gates, p uniform within 1/sqrt(columns) and 1/sqrt(r), static weights 2/sqrt(rows)."""
    torch.manual_seed(0)
    layer = EvolveGCN(ModelConfig(version="h", num_layers=1, hidden_dim=25), 64).layers[0]
    cell = layer.evolution.cell
    for tensor, bound in ((cell.initial, 0.2), (cell.of_input, 0.2), (layer.score, 0.125)):
        assert 0.9 * bound < float(tensor.detach().abs().max()) <= bound
    assert not cell.bias.any()
    static = EvolveGCN(ModelConfig(version="static", num_layers=1, hidden_dim=25), 64)
    assert 0.24 < float(static.layers[0].evolution.initial.detach().abs().max()) <= 0.25


def test_no_step_is_refused():
    with pytest.raises(ValueError, match="at least one step"):
        made("o", "gru")([])


def test_empty_snapshot():
    """No edge: Ahat is the identity; a masked summary is zero."""
    empty = snapshot(NODES, [])
    step = GraphInput(
        Adjacency.from_snapshot(empty, dtype=torch.float64), features()[0], empty.active
    )
    for mask in (False, True):
        y, _ = made("h", "gru", mask=mask)([step])
        assert bool(y.isfinite().all())
