import itertools
import random
import re
from collections import Counter

import pytest
import torch

from foretell.blocks.reber import (
    ALPHABET,
    count_words,
    encode_words,
    is_reber,
    random_word,
    reber_words,
    word_kind,
)

# Both loops solved by hand: X leads from the T side into T*V, P leads back.
TAIL = "(?:XT*VP)*"
REBER = re.compile(f"B(?:TS*X{TAIL}|PT*VP{TAIL})(?:SE|XT*VVE)|BPT*VVE")


def regex_valid(word):
    return REBER.fullmatch(word) is not None


def regex_kind(word):
    if set(word) - set(ALPHABET):
        return "foreign"
    if regex_valid(word):
        return "valid"
    changed = (word[:i] + letter + word[i + 1 :] for i in range(len(word)) for letter in ALPHABET)
    return "near_miss" if any(map(regex_valid, changed)) else "other"


@pytest.mark.parametrize(
    "word",
    ["BTXSE", "BPVVE", "BTSXSE", "BTSSSXXTTVVE", "BPTTTVPXVPSE", "BTXXVPXVVE", "BPVPSE", "BTXXVVE"],
)
def test_valid_by_hand(word):
    assert is_reber(word) and word_kind(word) == "valid"


@pytest.mark.parametrize(
    "word, kind",
    [
        ("", "other"),
        ("B", "other"),
        ("TXSE", "other"),
        ("BTXSEE", "other"),
        ("BTXS", "other"),
        ("BTSSE", "near_miss"),
        ("BPVVS", "near_miss"),
        ("PPVVS", "other"),
        ("BTXSe", "foreign"),
        ("BTXSEA", "foreign"),
    ],
)
def test_invalid_by_hand(word, kind):
    assert not is_reber(word) and word_kind(word) == kind


def test_every_short_word():
    counts = Counter()
    for length in range(7):
        for letters in itertools.product(ALPHABET, repeat=length):
            word = "".join(letters)
            assert is_reber(word) == regex_valid(word), word
            counts[length] += is_reber(word)
    assert [counts[n] for n in range(7)] == [count_words(n) for n in range(7)] == [0] * 5 + [2, 3]


@pytest.mark.parametrize("kind", ["valid", "foreign", "near_miss", "other"])
@pytest.mark.parametrize("length", [5, 6, 11, 30, 53])
def test_random_words_are_of_their_kind(kind, length):
    rng = random.Random(length)
    for _ in range(30):
        word = random_word(kind, length, rng)
        assert len(word) == length
        assert regex_kind(word) == word_kind(word) == kind


def test_long_words():
    assert regex_valid(random_word("valid", 3000, random.Random(0)))


def test_valid_words_of_a_length_are_equally_likely():
    rng = random.Random(0)
    drawn = Counter(random_word("valid", 11, rng) for _ in range(24 * 200))
    assert len(drawn) == count_words(11) == 24
    assert min(drawn.values()) > 140 and max(drawn.values()) < 260


def test_data_set():
    data = reber_words(300, 400, seed=3, foreign_share=0.5, near_miss_share=0.25)
    assert Counter(data.kinds) == {"valid": 300, "foreign": 200, "near_miss": 100, "other": 100}
    assert len(set(data.words)) == len(data.words) == 700
    assert all(11 <= len(word) <= 53 for word in data.words)
    assert [regex_kind(word) for word in data.words] == list(data.kinds)
    assert data.labels.tolist() == [int(regex_valid(word)) for word in data.words]
    assert data.labels.dtype == torch.int64
    assert 50 < data.labels[:200].sum() < 150


def test_length_does_not_give_the_label_away():
    data = reber_words(1000, 1000, seed=0)
    by_label = [
        torch.tensor([len(w) for w, y in zip(data.words, data.labels, strict=True) if y == label])
        for label in (0, 1)
    ]
    means = [lengths.double().mean() for lengths in by_label]
    assert abs(means[0] - means[1]) < 2
    assert set(by_label[1].tolist()) == set(range(11, 54))


def test_shares_of_the_published_data():
    kinds = Counter(reber_words(0, 1250, seed=0).kinds)
    assert kinds == {"foreign": 700, "near_miss": 152, "other": 398}


def test_same_seed_same_words():
    first, again, other = (reber_words(50, 50, seed=seed) for seed in (1, 1, 2))
    assert first == again and first != other


def test_every_word_of_a_length_range():
    data = reber_words(16, 0, seed=0, min_length=5, max_length=8)
    assert len(set(data.words)) == 16
    for length, count in ((5, 2), (6, 3), (7, 4), (8, 7)):
        assert sum(len(word) == length for word in data.words) == count


def test_empty():
    data = reber_words(0, 0, seed=0)
    assert data.words == () and data.labels.shape == (0,)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_valid": 17, "min_length": 5, "max_length": 8}, "num_valid must be at most 16"),
        ({"min_length": 4}, "min_length must lie in .5, max_length., got 4"),
        ({"min_length": 9, "max_length": 8}, "got 9 with max_length 8"),
        ({"foreign_share": 0.7, "near_miss_share": 0.4}, "at most 1 together"),
        ({"near_miss_share": -0.1}, "at least 0"),
        (
            {"num_invalid": 61, "min_length": 5, "max_length": 5, "near_miss_share": 1.0}
            | {"foreign_share": 0.0},
            "no new near_miss word",
        ),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        reber_words(**({"num_valid": 1, "num_invalid": 1, "seed": 0} | arguments))


def test_too_short_word():
    with pytest.raises(ValueError, match="length must be at least 5"):
        random_word("valid", 4, random.Random(0))


def test_encoding():
    codes, lengths = encode_words(["BTXSE", "BE", ""])
    assert codes.tolist() == [[66, 84, 88, 83, 69], [66, 69, 0, 0, 0], [0] * 5]
    assert lengths.tolist() == [5, 2, 0]
    assert codes.dtype == lengths.dtype == torch.int64
    assert encode_words([])[0].shape == (0, 0)
    words = reber_words(20, 20, seed=0).words
    codes, lengths = encode_words(words)
    assert codes.max() < 128
    back = [bytes(c[:n].tolist()).decode() for c, n in zip(codes, lengths.tolist(), strict=True)]
    assert back == list(words)


@pytest.mark.parametrize("word", ["Bé", "B\0E"])
def test_no_code_for_the_word(word):
    with pytest.raises(ValueError, match="words must hold ASCII"):
        encode_words([word])
