from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foretell.config import (
    RunOptions,
    TrainerConfig,
    convert,
    describe,
    from_dict,
    from_yaml,
    leaves,
    load_mapping,
    merge,
    to_dict,
    to_yaml,
    with_aliases,
)
from foretell.errors import UserError


@dataclass(frozen=True)
class Inner:
    kind: Literal["auto", "on", "off"] = "auto"
    lr: float = 0.1
    positive: int = 1

    def __post_init__(self) -> None:
        if self.positive < 1:
            raise ValueError(f"positive must be at least 1, got {self.positive}")


@dataclass(frozen=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    flag: bool = False
    name: str | None = None
    numbers: list[float] = field(default_factory=list)
    pairs: list[float | list[float]] = field(default_factory=list)
    count: int | float = 1.0


def test_yaml_round_trip():
    config = Outer(Inner("off", 3e-5), True, "a: b", [0.1, 2.0], [1.0, [2.0, 3.0]], 4)
    assert from_yaml(Outer, to_yaml(config)) == config
    assert from_yaml(TrainerConfig, to_yaml(TrainerConfig())) == TrainerConfig()
    assert from_yaml(Outer, "") == Outer()


FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(FINITE, st.booleans(), st.lists(FINITE))
def test_round_trip_of_any_value(number, flag, numbers):
    config = Outer(inner=Inner(lr=number), flag=flag, numbers=numbers)
    assert from_yaml(Outer, to_yaml(config)) == config
    assert from_dict(Outer, to_dict(config)) == config


@pytest.mark.parametrize(
    ("text", "want"), [("on", True), ("off", False), ("yes", True), ("false", False)]
)
def test_words_for_booleans(text, want):
    assert from_yaml(Outer, f"flag: {text}").flag is want
    assert from_yaml(Outer, f"flag: '{text}'").flag is want


def test_on_and_off_stay_words_where_they_are_choices():
    assert from_yaml(Outer, "inner: {kind: off}").inner.kind == "off"
    assert from_yaml(Outer, "inner: {kind: on}").inner.kind == "on"


def test_numbers_as_people_write_them():
    assert from_yaml(Outer, "inner: {lr: 2e-4}").inner.lr == 2e-4
    assert from_yaml(Outer, "numbers: [1, 2]").numbers == [1.0, 2.0]
    assert isinstance(from_yaml(Outer, "count: 3").count, int)
    assert isinstance(from_yaml(Outer, "count: 0.5").count, float)
    assert from_yaml(Outer, "name: null").name is None
    assert from_yaml(Outer, "name: none").name is None


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"innr": {}}, ["a.yaml", "unknown key 'innr'", "flag", "did you mean 'inner'"]),
        ({"inner": {"kinds": 1}}, ["'inner.kinds'", "did you mean 'kind'"]),
        ({"inner": {"kind": "aut"}}, ["inner.kind = 'aut'", "auto, on, off", "mean 'auto'"]),
        ({"inner": 3}, ["inner = 3", "Inner"]),
        ({"inner": {"lr": "fast"}}, ["inner.lr = 'fast'", "a number"]),
        ({"inner": {"lr": float("nan")}}, ["inner.lr", "a number"]),
        ({"inner": {"lr": float("inf")}}, ["inner.lr = inf", "a number"]),
        ({"numbers": [1.0, "-inf"]}, ["numbers", "a number"]),
        ({"count": float("inf")}, ["count = inf", "an integer or a number"]),
        ({"inner": {"positive": 0}}, ["inner: positive must be at least 1, got 0"]),
        ({"inner": {"positive": 1.5}}, ["inner.positive = 1.5", "an integer"]),
        ({"flag": "maybe"}, ["flag = 'maybe'", "on, off"]),
        ({"numbers": 3}, ["numbers = 3", "list of (a number)"]),
        ({"inner": {"positive": True}}, ["inner.positive = True", "an integer"]),
    ],
)
def test_errors_name_key_value_allowed_and_nearest(values, parts):
    with pytest.raises(UserError) as caught:
        from_dict(Outer, values, place="a.yaml")
    for part in parts:
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_error_of_the_whole_configuration_names_no_class():
    with pytest.raises(UserError, match=r"^positive must be at least 1, got 0$"):
        from_dict(Inner, {"positive": 0})
    with pytest.raises(UserError, match=r"^a.yaml: positive must be at least 1, got 0$"):
        from_dict(Inner, {"positive": 0}, place="a.yaml")


@pytest.mark.parametrize("precision", ["bf16-true", "16-true", "64-true"])
def test_weights_are_always_32_bit(precision):
    with pytest.raises(UserError, match="precision = .* allowed: 32-true, bf16-mixed, 16-mixed"):
        from_dict(TrainerConfig, {"precision": precision})


def test_broken_yaml_and_lists_at_the_top():
    with pytest.raises(UserError, match="x.yaml is not valid YAML"):
        load_mapping("a: [1", place="x.yaml")
    with pytest.raises(UserError, match="must hold keys"):
        load_mapping("- 1", place="x.yaml")


def test_a_partly_given_branch_keeps_the_owners_defaults():
    @dataclass(frozen=True)
    class Owner:
        inner: Inner = field(default_factory=lambda: Inner(lr=7.0))

    assert from_dict(Owner, {"inner": {"kind": "on"}}) == Owner(Inner("on", 7.0))


def test_a_field_that_follows_another_follows_the_one_given():
    @dataclass(frozen=True)
    class Follower:
        kind: str = "a"
        label: str = ""

        def __post_init__(self) -> None:
            object.__setattr__(self, "label", self.label or self.kind)

    @dataclass(frozen=True)
    class Owner:
        inner: Follower = field(default_factory=Follower)

    assert from_dict(Owner, {}).inner.label == "a"
    assert from_dict(Owner, {"inner": {"kind": "b"}}).inner.label == "b"


def test_merge_is_nested_and_replaces_lists():
    assert merge({"a": {"b": 1, "c": [1, 2]}}, {"a": {"c": [3]}}) == {"a": {"b": 1, "c": [3]}}


def test_leaves_are_dotted():
    assert [path for path, _ in leaves(Outer)][:4] == [
        "inner.kind",
        "inner.lr",
        "inner.positive",
        "flag",
    ]


def test_describe_and_convert_of_tuples():
    assert describe(tuple[int, float]) == "list of 2 values (an integer, a number)"
    assert convert([1, 2], tuple[int, float], key="k") == (1, 2.0)
    with pytest.raises(UserError, match="list of 2 values"):
        convert([1], tuple[int, float], key="k")


def test_options_of_each_seed():
    assert [o.out for o in RunOptions(out="r").each_seed()] == ["r"]
    several = list(RunOptions(out="r", seed=4, seeds=2).each_seed())
    assert [(o.out, o.seed, o.seeds) for o in several] == [("r/seed_4", 4, 1), ("r/seed_5", 5, 1)]
    with pytest.raises(UserError, match="--seeds"):
        RunOptions(seeds=0)
    with pytest.raises(UserError, match="--resume r/last.ckpt with --seeds 2 .*--resume auto"):
        RunOptions(seeds=2, resume="r/last.ckpt")


@dataclass(frozen=True)
class Aliased:
    context: int = with_aliases(96, "look_back", "lookback")


@dataclass(frozen=True)
class AroundAliased:
    inner: Aliased = field(default_factory=Aliased)


def test_other_names_of_a_field():
    assert from_dict(Aliased, {"lookback": 3}).context == 3
    assert from_dict(AroundAliased, {"inner": {"look_back": 3}}).inner.context == 3
    assert to_dict(Aliased(4)) == {"context": 4}
    with pytest.raises(UserError, match="file: context is given twice, as look_back too"):
        from_dict(Aliased, {"context": 3, "look_back": 3}, place="file")
