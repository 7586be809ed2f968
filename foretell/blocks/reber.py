"""Words of the Reber grammar and three kinds of wrong words, to test sequence classifiers.

A word runs through the automaton below from B to E. The learning task is to tell valid from
invalid words of equal length; near misses, one letter away from a valid word, are the hard part.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

Kind = Literal["valid", "foreign", "near_miss", "other"]
"""Valid; a letter outside the alphabet; one substitution inside it away from valid; neither."""
ALPHABET = "BTSXPVE"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
START, ACCEPT = -1, 6
TRANSITIONS: dict[int, dict[str, int]] = {
    START: {"B": 0},
    0: {"T": 1, "P": 5},
    1: {"S": 1, "X": 2},
    2: {"S": 3, "X": 5},
    3: {"E": ACCEPT},
    4: {"V": 3, "P": 2},
    5: {"V": 4, "T": 5},
    ACCEPT: {},
}
PADDING = 0
NUM_SYMBOLS = 128
MAX_REDRAWS = 10_000


@dataclass(frozen=True)
class ReberWords:
    """Distinct words in random order."""

    words: tuple[str, ...]
    kinds: tuple[Kind, ...]

    @property
    def labels(self) -> Int[Tensor, " words"]:
        """1 for valid words, 0 for the others."""
        return torch.tensor([int(kind == "valid") for kind in self.kinds], dtype=torch.int64)


def is_reber(word: str) -> bool:
    """Whether the automaton accepts the word."""
    state = START
    for letter in word:
        if letter not in TRANSITIONS[state]:
            return False
        state = TRANSITIONS[state][letter]
    return state == ACCEPT


def word_kind(word: str) -> Kind:
    """Which of the four kinds a word is."""
    if not set(word) <= set(ALPHABET):
        return "foreign"
    # Fewest substitutions on the way to each state.
    fewest = {START: 0}
    for letter in word:
        ways: dict[int, int] = {}
        for state, count in fewest.items():
            for wanted, target in TRANSITIONS[state].items():
                ways[target] = min(ways.get(target, len(word)), count + (letter != wanted))
        fewest = ways
    match fewest.get(ACCEPT):
        case 0:
            return "valid"
        case 1:
            return "near_miss"
        case _:
            return "other"


@cache
def _ways_to_finish(length: int) -> list[dict[int, int]]:
    """Item n: for each state, in how many ways n letters lead to the end; n = 0 .. length."""
    ways = [{state: int(state == ACCEPT) for state in TRANSITIONS}]
    for _ in range(length):
        ways.append(
            {
                state: sum(ways[-1][target] for target in letters.values())
                for state, letters in TRANSITIONS.items()
            }
        )
    return ways


def count_words(length: int) -> int:
    """Number of valid words of a length."""
    return _ways_to_finish(length)[length][START]


def random_word(kind: Kind, length: int, rng: random.Random) -> str:
    """Draw a word of a kind.

    Valid words are equally likely among those of the length. A near miss is such a word with one
    letter changed, a foreign word random capitals, an other word random letters of the alphabet.

    Args:
        kind: What to draw.
        length: Number of letters, at least 5.
        rng: Where the randomness comes from.
    """
    if count_words(length) == 0:
        raise ValueError(f"length must be at least 5, the shortest word's, got {length}")
    for _ in range(MAX_REDRAWS):
        word = _draw(kind, length, rng)
        if word_kind(word) == kind:
            return word
    raise RuntimeError(f"no {kind} word of length {length} in {MAX_REDRAWS} draws")


def _draw(kind: Kind, length: int, rng: random.Random) -> str:
    match kind:
        case "valid":
            state, word = START, ""
            pick = rng.randrange(count_words(length))  # the word's rank
            while len(word) < length:
                ways = _ways_to_finish(length)[length - len(word) - 1]
                for letter, target in TRANSITIONS[state].items():
                    if pick < ways[target]:
                        state, word = target, word + letter
                        break
                    pick -= ways[target]
            return word
        case "near_miss":
            word = _draw("valid", length, rng)
            place = rng.randrange(length)
            return word[:place] + rng.choice(ALPHABET) + word[place + 1 :]
        case "foreign":
            return "".join(rng.choices(LETTERS, k=length))
        case "other":
            return "".join(rng.choices(ALPHABET, k=length))


def reber_words(
    num_valid: int,
    num_invalid: int,
    *,
    seed: int,
    min_length: int = 11,
    max_length: int = 53,
    foreign_share: float = 7000 / 12500,
    near_miss_share: float = 1516 / 12500,
) -> ReberWords:
    """Distinct valid and invalid words, shuffled; the same for the same arguments.

    Valid words spread evenly over the lengths, except that short lengths have few (24 of 11
    letters). Invalid words take their lengths from the valid ones, so length says nothing. The
    default shares are those of the published data (2407.20601).

    Args:
        num_valid: Words with label 1.
        num_invalid: Words with label 0.
        seed: Of the random generator.
        min_length: Fewest letters, at least 5.
        max_length: Most letters.
        foreign_share: Share of the invalid words with letters outside the alphabet.
        near_miss_share: Share of the invalid words one substitution away from a valid one.
    """
    if not 5 <= min_length <= max_length:
        raise ValueError(
            f"min_length must lie in [5, max_length], got {min_length} with max_length {max_length}"
        )
    if min(foreign_share, near_miss_share) < 0 or foreign_share + near_miss_share > 1:
        raise ValueError(
            "foreign_share and near_miss_share must be at least 0 and at most 1 together, "
            f"got {foreign_share} and {near_miss_share}"
        )
    rng = random.Random(seed)
    kinds: dict[str, Kind] = dict.fromkeys(
        _distinct_valid(num_valid, range(min_length, max_length + 1), rng), "valid"
    )
    lengths = [len(word) for word in kinds] or range(min_length, max_length + 1)
    num_foreign = round(num_invalid * foreign_share)
    num_near = min(round(num_invalid * near_miss_share), num_invalid - num_foreign)
    wanted: dict[Kind, int] = {
        "foreign": num_foreign,
        "near_miss": num_near,
        "other": num_invalid - num_foreign - num_near,
    }
    for kind, count in wanted.items():
        for _ in range(count):
            kinds[_new_word(kind, lengths, kinds, rng)] = kind
    words = list(kinds)
    rng.shuffle(words)
    return ReberWords(tuple(words), tuple(kinds[word] for word in words))


def _distinct_valid(count: int, lengths: Sequence[int], rng: random.Random) -> list[str]:
    """Valid words, a new one at a length drawn evenly from those that still have one."""
    available = sum(count_words(length) for length in lengths)
    if count > available:
        raise ValueError(
            f"num_valid must be at most {available}, the number of words of "
            f"{lengths[0]} to {lengths[-1]} letters, got {count}"
        )
    drawn: dict[int, set[str]] = {length: set() for length in lengths}
    words = []
    for _ in range(count):
        length = rng.choice([n for n, known in drawn.items() if len(known) < count_words(n)])
        word = random_word("valid", length, rng)
        while word in drawn[length]:
            word = random_word("valid", length, rng)
        drawn[length].add(word)
        words.append(word)
    return words


def _new_word(
    kind: Kind, lengths: Sequence[int], known: dict[str, Kind], rng: random.Random
) -> str:
    for _ in range(MAX_REDRAWS):
        word = random_word(kind, rng.choice(lengths), rng)
        if word not in known:
            return word
    raise ValueError(
        f"no new {kind} word in {MAX_REDRAWS} draws: ask for fewer invalid words or longer ones"
    )


def encode_words(
    words: Sequence[str],
) -> tuple[Int[Tensor, "batch time"], Int[Tensor, " batch"]]:
    """ASCII codes of words, padded at the end with symbol 0.

    Args:
        words: ASCII words; one may be empty.

    Returns:
        Codes as wide as the longest word, and the number of letters of each.

    Example:
        >>> encode_words(["BE", "T"])
        (tensor([[66, 69],
                [84,  0]]), tensor([2, 1]))
    """
    for word in words:
        if not word.isascii() or chr(PADDING) in word:
            raise ValueError(f"words must hold ASCII characters other than 0, got {word!r}")
    lengths = torch.tensor([len(word) for word in words], dtype=torch.int64)
    width = max(map(len, words), default=0)
    rows = [list(word.encode()) + [PADDING] * (width - len(word)) for word in words]
    return torch.tensor(rows, dtype=torch.int64).reshape(len(words), width), lengths
