"""Sequences that the reproductions learn from, drawn afresh from a generator."""

import torch
from torch import Generator
from training import UNSCORED, Examples

MEMORY = 0.8
"""Decay of an event's influence from one event to the next."""
DAMPING, WARM_UP = 0.9, 64
"""Radius of the series' poles, and values dropped at their start."""


def recall_stream(
    rows: int,
    time: int,
    randomness: Generator,
    *,
    num_keys: int,
    num_values: int,
    read_share: float = 0.5,
    max_age: int | None = None,
    scored_last: int | None = None,
) -> Examples:
    """Keys are bound to values over and over, and asked for: the latest value is the answer.

    A step writes (key, value) or reads (key, nothing); the first step writes. Identifiers: keys
    from 1, values behind the keys, 0 for nothing.

    Args:
        rows: Sequences.
        time: Steps.
        randomness: Where the randomness comes from.
        num_keys: Keys; a write takes any of them, a read one that was written.
        num_values: Values.
        read_share: Share of the steps that read.
        max_age: Reads ask for keys whose last write is at most so many steps ago; none = any.
        scored_last: Score reads among so many last steps; none = all.
    """
    never = -2 * time
    value_of = torch.zeros(rows, num_keys, dtype=torch.int64)
    written_at = torch.full((rows, num_keys), never)
    reads = torch.rand(time, rows, generator=randomness) < read_share
    reads[0] = False
    keys = torch.randint(num_keys, (time, rows), generator=randomness)
    values = torch.randint(num_values, (time, rows), generator=randomness)
    lottery = torch.rand(time, rows, num_keys, generator=randomness)
    each, targets = torch.arange(rows), []
    span = time if max_age is None else max_age
    for t in range(time):
        known = written_at >= t - span
        asks = reads[t] & known.any(1)
        asked = lottery[t].masked_fill(~known, -1).argmax(1)
        keys[t] = torch.where(asks, asked, keys[t])
        latest = value_of[each, keys[t]]
        targets.append(torch.where(asks, latest, UNSCORED))
        value_of[each, keys[t]] = torch.where(asks, latest, values[t])
        written_at[each, keys[t]] = torch.where(asks, written_at[each, keys[t]], t)
        reads[t] = asks
    fields = torch.stack([1 + keys, torch.where(reads, 0, 1 + num_keys + values)], -1)
    answers = torch.stack(targets, 1)
    if scored_last is not None:
        answers[:, :-scored_last] = UNSCORED
    return Examples(fields.transpose(0, 1), answers)


def copy_stream(
    rows: int, time: int, randomness: Generator, *, num_symbols: int, num_copied: int
) -> Examples:
    """Symbols at the start, blanks, then as many marks, each answered by the symbol of its rank.

    Identifiers: 0 blank, symbols from 1, the mark behind them.

    Args:
        rows: Sequences.
        time: Steps, all told.
        randomness: Where the randomness comes from.
        num_symbols: Kinds of symbols.
        num_copied: Symbols to keep.
    """
    symbols = torch.randint(num_symbols, (rows, num_copied), generator=randomness)
    inputs = torch.zeros(rows, time, 1, dtype=torch.int64)
    inputs[:, :num_copied, 0] = 1 + symbols
    inputs[:, -num_copied:, 0] = 1 + num_symbols
    targets = torch.full((rows, time), UNSCORED)
    targets[:, -num_copied:] = symbols
    return Examples(inputs, targets)


def question_stream(
    rows: int,
    num_pairs: int,
    randomness: Generator,
    *,
    num_keys: int,
    num_values: int,
    num_questions: int,
    questions_first: bool,
    fewest: int | None = None,
) -> Examples:
    """Pairs of different keys, questions before or after them, then an answer to each question.

    A pair is a step (key, value), a question (key, rank), an answer (sign, rank); the answer to a
    question is the value of its key. Keys that are asked for stand anywhere among the pairs.
    Identifiers: keys from 1, then values, ranks and the sign.

    Args:
        rows: Sequences.
        num_pairs: Steps with a pair, at most num_keys.
        randomness: Where the randomness comes from.
        num_keys: Keys.
        num_values: Values.
        num_questions: Questions, of different keys.
        questions_first: Where they stand.
        fewest: All rows have one number of pairs, drawn from this one to num_pairs; none = the
            latter. Training on short and long sequences in turn is faster.
    """
    if fewest is not None:
        num_pairs = int(torch.randint(fewest, num_pairs + 1, (), generator=randomness))
    keys = torch.rand(rows, num_keys, generator=randomness).argsort(1)[:, :num_pairs]
    values = torch.randint(num_values, (rows, num_pairs), generator=randomness)
    # The asked pairs come first, then all are shuffled.
    asked, answers = keys[:, :num_questions], values[:, :num_questions]
    ranks = torch.arange(num_questions).expand(rows, -1)
    first_rank = 1 + num_keys + num_values
    pairs = torch.stack([1 + keys, 1 + num_keys + values], -1)
    order = torch.rand(rows, num_pairs, generator=randomness).argsort(1)
    pairs = pairs[torch.arange(rows)[:, None], order]
    questions = torch.stack([1 + asked, first_rank + ranks], -1)
    sign = torch.full_like(ranks, first_rank + num_questions)
    asks = torch.stack([sign, first_rank + ranks], -1)
    parts = [questions, pairs, asks] if questions_first else [pairs, questions, asks]
    inputs = torch.cat(parts, 1)
    targets = torch.full(inputs.shape[:2], UNSCORED)
    targets[:, -num_questions:] = answers
    return Examples(inputs, targets)


def event_stream(rows: int, time: int, randomness: Generator, *, num_marks: int) -> Examples:
    """Marks that excite each other: the next mark is asked for at every step.

    p(mark_{n+1} = k) ~ exp(sum_{j<=n} 0.8^(n-j) A[mark_j, k]) with a fixed matrix A of normal
    numbers: a log-linear Hawkes process that counts events instead of time. Identifiers from 1.

    Args:
        rows: Sequences.
        time: Steps.
        randomness: Where the randomness comes from.
        num_marks: Kinds of events.
    """
    influence = torch.randn(num_marks, num_marks, generator=Generator().manual_seed(0))
    marks = [torch.randint(num_marks, (rows,), generator=randomness)]
    excitement = influence[marks[0]]
    for _ in range(time):
        chances = excitement.softmax(-1)
        marks.append(torch.multinomial(chances, 1, generator=randomness)[:, 0])
        excitement = MEMORY * excitement + influence[marks[-1]]
    drawn = torch.stack(marks, 1)
    return Examples(1 + drawn[:, :-1, None], drawn[:, 1:])


def series_stream(
    rows: int,
    time: int,
    randomness: Generator,
    *,
    num_classes: int,
    width: int,
    noise: float,
) -> Examples:
    """Noisy series of classes that differ in their rhythm; the last step asks for the class.

    x_t = 2 r cos(w) x_{t-1} - r^2 x_{t-2} + e_t with r = 0.9 and the class's frequency w, scaled to
    standard deviation 1, plus white noise; cut into steps of `width` values.

    Args:
        rows: Sequences.
        time: Steps.
        randomness: Where the randomness comes from.
        num_classes: Classes, of evenly spaced frequencies.
        width: Values a step.
        noise: Standard deviation of the white noise.
    """
    labels = torch.randint(num_classes, (rows,), generator=randomness)
    angle = torch.pi * (0.1 + 0.8 * labels / num_classes)
    steps = WARM_UP + time * width
    shocks = torch.randn(steps, rows, generator=randomness)
    values = [shocks[0], shocks[1]]
    for shock in shocks[2:]:
        values.append(2 * DAMPING * angle.cos() * values[-1] - DAMPING**2 * values[-2] + shock)
    series = torch.stack(values[WARM_UP:], 1)
    series = series / series.std(1, keepdim=True)
    series = series + noise * torch.randn(series.shape, generator=randomness)
    targets = torch.full((rows, time), UNSCORED)
    targets[:, -1] = labels
    return Examples(series.view(rows, time, width), targets)
