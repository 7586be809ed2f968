"""N-gram heads against all pairs, and the protocol with ids."""

import pytest
import torch

from foretell.blocks.ngram import NgramBlock, NgramHead, Quantiser, ngram_means_naive
from foretell.blocks.protocol import cat_states, index_state, state_numel

DIM = 3


def data(batch=2, time=17, num_ids=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(batch, time, DIM, generator=generator, dtype=torch.float64)
    return h, torch.randint(num_ids, (batch, time), generator=generator)


def head(n=1, num_ids=2, storage="auto"):
    torch.manual_seed(0)
    return NgramHead(DIM, num_ids, n=n, storage=storage).double()


STORAGES = pytest.mark.parametrize("storage", ["table", "cache"])


def means(block, y, h):
    """N_i, from y = W_0 N + W_1 h."""
    left = y - block.of_token(h) - block.of_ngram.bias
    return left @ torch.linalg.inv(block.of_ngram.weight).T


def steps(block, h, ids, state):
    outputs = []
    for t in range(h.shape[1]):
        y, state = block.step(h[:, t], state, ids=ids[:, t])
        outputs.append(y)
    return torch.stack(outputs, 1), state


def same(a, b):
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


def test_by_hand():
    """ids 0 1 0 1 0, n = 1: at step 2 (id 0) what followed the first 0, h_1; at 4 also h_3."""
    h = torch.arange(15.0, dtype=torch.float64).view(1, 5, 3)
    found = ngram_means_naive(h, torch.tensor([[0, 1, 0, 1, 0]]), 1)
    zero = torch.zeros(3, dtype=torch.float64)
    expected = [zero, zero, h[0, 1], h[0, 2], (h[0, 1] + h[0, 3]) / 2]
    same(found[0].unbind(0), expected)


@STORAGES
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("num_ids", [1, 2, 5])
@pytest.mark.parametrize("time", [1, 2, 17, 65])
def test_all_forms_agree_with_their_gradients(n, num_ids, time, storage):
    block, (h, ids) = head(n, num_ids, storage), data(3, time, num_ids)
    grads = []
    for form in ("all at once", "steps", "pairs"):
        given = h.clone().requires_grad_()
        if form == "all at once":
            y, end = block(given, ids=ids)
            final = end
        elif form == "steps":
            y, end = steps(block, given, ids, block.init_state(3))
            same(end, final)
        else:
            found = ngram_means_naive(given, ids, n)
            y = block.of_ngram(found) + block.of_token(given)
        grads.append([y, *torch.autograd.grad(y.square().sum(), [given, *block.parameters()])])
    same(grads[0], grads[1])
    same(grads[0], grads[2])


@STORAGES
@pytest.mark.parametrize("n", [1, 2])
def test_a_sequence_may_be_cut_anywhere(n, storage):
    block, (h, ids) = head(n, storage=storage), data()
    y, end = block(h, ids=ids)
    for cut in range(18):
        first, state = block(h[:, :cut], ids=ids[:, :cut])
        second, last = block(h[:, cut:], state, ids=ids[:, cut:])
        same((torch.cat([first, second], 1), *last), (y, *end))
    size = state_numel(block.init_state(2))
    entries = 0 if storage == "table" else 2 * (17 - n) * (DIM + 1)
    assert state_numel(end) == size + entries and block.bounded_state == (storage == "table")


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("num_ids", [2, 7])
def test_cache_and_table_are_the_same_map(n, num_ids):
    results = []
    for storage in ("table", "cache"):
        block, (h, ids) = head(n, num_ids, storage), data(2, 40, num_ids)
        h.requires_grad_()
        first, state = block(h[:, :13], ids=ids[:, :13])
        second, _ = block(h[:, 13:], state, ids=ids[:, 13:])
        y = torch.cat([first, second], 1)
        grads = torch.autograd.grad(y.square().sum(), [h, *block.parameters()])
        mean = state.mean(torch.arange(2) % num_ids**n)
        results.append([y, mean, *grads])
    same(*results)


def test_a_large_vocabulary_takes_the_cache():
    block, (h, ids) = head(3, 50_257), data(2, 30, 3)
    assert not block.bounded_state and "storage='cache'" in str(block)
    ids = 50_254 + ids  # The n-grams' numbers need 47 bits.
    y, state = block(h, ids=ids)
    same([y], [steps(block, h, ids, block.init_state(2))[0]])
    found = ngram_means_naive(h, ids, 3)
    assert torch.count_nonzero(found) > 0
    same([means(block, y, h)], [found])
    assert state.values.shape == (2, 27, DIM) and not head(1, 70_000).bounded_state


@STORAGES
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("lengths", [[17, 5, 0], [2, 17, 16]])
@pytest.mark.parametrize("resets", [[[], [], []], [[0, 3], [4, 5], [16]], [[1], [], [0]]])
def test_lengths_and_resets_are_separate_runs(n, lengths, resets, storage):
    block, (h, ids) = head(n, storage=storage), data(3)
    _, state = block(*data(3, 6, seed=4)[:1], ids=data(3, 6, seed=4)[1])
    reset = torch.zeros(3, 17, dtype=torch.bool)
    for row, places in enumerate(resets):
        reset[row, places] = True
    dirty = h.clone()
    padding = torch.arange(17) >= torch.tensor(lengths)[:, None]
    dirty[padding] = float("nan")
    far = ids.masked_fill(padding, 10**6)
    y, end = block(dirty, state, ids=far, lengths=torch.tensor(lengths), reset=reset)
    assert torch.count_nonzero(y[padding]) == 0
    own_y, own_end = [], []
    for row, places in enumerate(resets):
        borders = [place for place in places if place < lengths[row]]
        given, outputs = index_state(state, torch.tensor([row])), []
        for start, stop in zip([0, *borders], [*borders, lengths[row]], strict=True):
            if start in borders:
                given = block.init_state(1)
            piece = (slice(row, row + 1), slice(start, stop))
            out, given = block(h[piece], given, ids=ids[piece])
            outputs.append(out)
        own_y.append(torch.cat([*outputs, h.new_zeros(1, 17 - lengths[row], DIM)], 1))
        own_end.append(given)
    if storage == "cache":
        own_end = [padded(given, end.codes.shape[1]) for given in own_end]
    same((y, *end), (torch.cat(own_y), *cat_states(own_end)))


def padded(state, entries):
    """A cache with room for more entries."""
    more = entries - state.codes.shape[1]
    return state._replace(
        values=torch.nn.functional.pad(state.values, (0, 0, 0, more)),
        codes=torch.nn.functional.pad(state.codes, (0, more), value=-1),
    )


@STORAGES
def test_states_are_never_changed(storage):
    block, (h, ids) = head(storage=storage), data()
    _, state = block(h, ids=ids)
    before = [(t._version, t.clone()) for t in state]
    first, end = block(h, state, ids=ids)
    block.step(h[:, 0], state, ids=ids[:, 0])
    assert torch.equal(block(h, state, ids=ids)[0], first)
    for tensor, (version, value) in zip(state, before, strict=True):
        assert tensor._version == version and torch.equal(tensor, value)
    y, same_end = block(h[:, :0], end, ids=ids[:, :0])
    assert y.shape == (2, 0, DIM) and same_end is end


@STORAGES
def test_a_reset_discards_a_state_that_is_not_finite(storage):
    block, (h, ids) = head(storage=storage), data()
    _, state = block(h, ids=ids)
    broken = state._replace(**{state._fields[0]: torch.full_like(state[0], torch.nan)})
    reset = (torch.arange(17) == 0).expand(2, 17)
    y, end = block(h, broken, ids=ids, reset=reset)
    expected, expected_end = block(h, ids=ids)
    same((y, *end), (expected, *expected_end))


@STORAGES
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e300])
def test_what_is_not_finite_stays_with_its_n_gram_and_its_segment(storage, value):
    block, (h, _) = head(num_ids=3, storage=storage), data(1, 12)
    ids = torch.tensor([[0, 1, 0, 2, 0, 2, 0, 2, 0, 1, 0, 1]])
    reset = (torch.arange(12) == 8)[None]
    dirty = h.clone()
    dirty[0, 2] = value  # stands under 1, which is not read before the reset
    clean = torch.arange(12) != 2
    results = []
    for given in (h.requires_grad_(), dirty.requires_grad_()):
        y, end = block(given, ids=ids, reset=reset)
        (grad,) = torch.autograd.grad(y[:, clean].sum() + end[0].square().sum(), given)
        looped, _ = steps(block, given[:, :8], ids[:, :8], block.init_state(1))
        results.append((y[:, clean], end[0], grad[:, clean], looped[:, clean[:8]]))
    same(*results)


@STORAGES
def test_no_output_depends_on_later_inputs(storage):
    block, (h, ids) = head(2, storage=storage), data()
    h.requires_grad_()
    y, _ = block(h, ids=ids)
    (grad,) = torch.autograd.grad(y[:, 9].sum(), h)
    assert torch.count_nonzero(grad[:, 10:]) == 0
    changed = ids.clone()
    changed[:, 10:] = 1 - changed[:, 10:]
    torch.testing.assert_close(block(h, ids=changed)[0][:, :10], y[:, :10])


@STORAGES
def test_an_empty_match_is_exactly_zero_and_finite(storage):
    block, h = head(storage=storage), data(1, 4)[0].requires_grad_()
    y, _ = block(h, ids=torch.tensor([[0, 1, 1, 0]]))
    torch.testing.assert_close(means(block, y, h)[0, 1], torch.zeros(3, dtype=torch.float64))
    (grad,) = torch.autograd.grad(y.sum(), h)
    assert torch.isfinite(grad).all()
    with torch.autocast("cpu", torch.bfloat16):
        low, state = block.bfloat16()(h.bfloat16(), ids=torch.tensor([[0, 1, 1, 0]]))
    assert low.dtype == torch.bfloat16 and state[0].dtype == torch.float32


@STORAGES
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_the_block_is_the_residual_heads_one_after_the_other(storage, norm):
    torch.manual_seed(0)
    block, (h, ids) = NgramBlock(DIM, 2, storage=storage, norm=norm).double(), data()
    assert [mixer.n for mixer in block.mixers] == [1, 2, 3]
    assert block.bounded_state == (storage == "table") and block.causal and block.streamable
    expected = h
    for mixer, own in zip(block.mixers, block.norms, strict=True):
        given = own(expected)
        found = ngram_means_naive(given, ids, mixer.n)
        expected = expected + mixer.of_ngram(found) + mixer.of_token(given)
    y, end = block(h, ids=ids)
    same([y], [expected])
    looped, last = steps(block, h, ids, block.init_state(2))
    same([looped], [y])
    for one, other in zip(end, last, strict=True):
        same(one, other)
    with pytest.raises(ValueError, match="no layer of the stack takes 'codes'"):
        block(h, codes=ids)


def test_wrong_ids_and_sizes_are_named():
    with pytest.raises(ValueError, match=r"300 ids make 300\^2 n-grams, more than 65536.*cache"):
        NgramHead(DIM, 300, n=2, storage="table")
    with pytest.raises(ValueError, match=r"more than 4611686018427387904: lower n or num_ids"):
        NgramHead(DIM, 50_257, n=4)
    with pytest.raises(ValueError, match="n and num_ids must be at least 1, got 0 and 2"):
        NgramHead(DIM, 2, n=0)
    h, ids = data()
    with pytest.raises(ValueError, match=r"ids must lie in 0..1, got 0..2"):
        head()(h, ids=ids + (torch.arange(17) == 3).long() * (2 - ids))


def test_quantiser_knows_its_context_alone():
    context = torch.linspace(0, 1, 101, dtype=torch.float64)
    quantiser = Quantiser(4)
    with pytest.raises(ValueError, match="call fit"):
        quantiser(context)
    ids = quantiser.fit(context)(torch.tensor([-9.0, 0.1, 0.3, 0.6, 0.9, 9.0]))
    assert ids.tolist() == [0, 0, 1, 2, 3, 3]
    other = Quantiser(4)
    other.load_state_dict(quantiser.state_dict())
    assert torch.equal(other.edges, quantiser.edges)
    with pytest.raises(ValueError, match="finite values"):
        quantiser.fit(torch.tensor([0.0, float("nan")]))


def test_quantiser_takes_more_values_than_torch_quantile():
    context = torch.arange(2**24 + 1, dtype=torch.float32)
    assert torch.equal(Quantiser(4).fit(context).edges, torch.tensor([1.0, 2.0, 3.0]) * 2**22)
    uneven = torch.tensor([3.0, 0.0, 10.0, 1.0])
    assert Quantiser(2).fit(uneven).edges.item() == 2.0
