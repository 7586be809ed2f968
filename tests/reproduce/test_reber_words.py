"""Where the word classifier reads its answer."""

import pytest
import torch
from reber_words import WordClassifier
from torch.nn import functional

from foretell.blocks import GRU
from foretell.blocks.reber import PADDING, encode_words


def classifier(**options):
    torch.manual_seed(0)
    return WordClassifier(GRU(3, 4), 3, **options)


@pytest.mark.parametrize("pad_as_symbol", [False, True])
def test_the_answer_is_read_at_the_last_letter_or_at_the_last_step(pad_as_symbol):
    model = classifier(pad_as_symbol=pad_as_symbol)
    codes, lengths = encode_words(["BTXSE", "BP"])
    logits = model(codes, lengths)
    y, _ = model.network(model.embed(codes))
    last = 4 if pad_as_symbol else 1
    torch.testing.assert_close(logits, model.head(torch.stack([y[0, 4], y[1, last]])))
    wider = model(functional.pad(codes, (0, 2), value=PADDING), lengths)
    assert torch.equal(logits, wider) == (not pad_as_symbol)


def test_padding_is_no_symbol_unless_asked_for_and_is_learned_then():
    codes, lengths = encode_words(["BTXSE", "BP"])
    learned = {}
    for pad_as_symbol in (False, True):
        model = classifier(pad_as_symbol=pad_as_symbol)
        model(codes, lengths).sum().backward()
        learned[pad_as_symbol] = bool(model.embed.weight.grad[PADDING].any())
    assert learned == {False: False, True: True}
    assert not classifier().pad_as_symbol
