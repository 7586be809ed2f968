import pytest
import torch
from streams import copy_stream, event_stream, question_stream, recall_stream, series_stream
from training import UNSCORED


def randomness():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("max_age", [None, 3])
def test_reads_ask_for_the_latest_value(max_age):
    keys, values = 5, 4
    sizes = {"num_keys": keys, "num_values": values, "max_age": max_age}
    inputs, targets = recall_stream(20, 30, randomness(), **sizes)
    for row, answers in zip(inputs.tolist(), targets.tolist(), strict=True):
        known, written_at = {}, {}
        for t, ((key, value), answer) in enumerate(zip(row, answers, strict=True)):
            assert 1 <= key <= keys
            if value:
                known[key], written_at[key] = value - 1 - keys, t
                assert answer == UNSCORED
                continue
            assert answer == known[key]
            assert max_age is None or t - written_at[key] <= max_age
    assert 0.3 < (targets != UNSCORED).float().mean() < 0.5
    assert set(targets.unique().tolist()) == {UNSCORED, *range(values)}


def test_only_the_last_reads_are_scored():
    sizes = {"num_keys": 5, "num_values": 4}
    every = recall_stream(8, 20, randomness(), **sizes)
    last = recall_stream(8, 20, randomness(), **sizes, scored_last=6)
    assert last.inputs.equal(every.inputs)
    assert last.targets[:, -6:].equal(every.targets[:, -6:])
    assert (last.targets[:, :-6] == UNSCORED).all()


def test_copied_symbols_are_asked_in_order():
    inputs, targets = copy_stream(6, 12, randomness(), num_symbols=4, num_copied=3)
    assert (inputs[:, :3, 0] - 1).equal(targets[:, -3:])
    assert (inputs[:, 3:9] == 0).all() and (inputs[:, 9:] == 5).all()
    assert (targets[:, :-3] == UNSCORED).all()


@pytest.mark.parametrize("fewest", [None, 3])
@pytest.mark.parametrize("questions_first", [True, False])
def test_answers_are_the_values_of_the_keys_asked_for(questions_first, fewest):
    sizes = {"num_keys": 9, "num_values": 4, "num_questions": 3, "fewest": fewest}
    inputs, targets = question_stream(40, 6, randomness(), questions_first=questions_first, **sizes)
    first = {"values": 10, "ranks": 14, "sign": 17}
    num_pairs = inputs.shape[1] - 6
    for row, answers in zip(inputs.tolist(), targets.tolist(), strict=True):
        told = row[:-3]
        questions, pairs = (told[:3], told[3:]) if questions_first else (told[-3:], told[:-3])
        bound = {key: value - first["values"] for key, value in pairs}
        assert len(bound) == num_pairs
        assert [rank for _, rank in questions] == [14, 15, 16]
        assert row[-3:] == [[first["sign"], rank] for rank in (14, 15, 16)]
        assert answers[-3:] == [bound[key] for key, _ in questions]
        assert answers[:-3] == [UNSCORED] * (num_pairs + 3)
    source, drawn = randomness(), set()
    for _ in range(40):
        more = question_stream(1, 6, source, questions_first=questions_first, **sizes).inputs
        drawn.add(more.shape[1] - 6)
    assert drawn == ({6} if fewest is None else {3, 4, 5, 6})


def test_events_answer_the_next_mark():
    inputs, targets = event_stream(5, 9, randomness(), num_marks=4)
    assert (inputs[:, 1:, 0] - 1).equal(targets[:, :-1])


def test_series_have_the_rhythm_of_their_class():
    sizes = {"num_classes": 4, "width": 8, "noise": 0.0}
    inputs, targets = series_stream(64, 64, randomness(), **sizes)
    power = torch.fft.rfft(inputs.flatten(1)).abs().square()
    frequency = (power * torch.linspace(0, 1, power.shape[1])).sum(1) / power.sum(1)
    means = [frequency[targets[:, -1] == label].mean().item() for label in range(4)]
    assert means == sorted(means) and means[3] - means[0] > 0.3


def test_sequences_depend_on_the_generator_alone():
    first, second = (copy_stream(4, 9, randomness(), num_symbols=3, num_copied=2) for _ in "ab")
    assert first.inputs.equal(second.inputs)
