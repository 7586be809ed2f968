"""Explained anchors against retrieval by hand; words of a tokenizer or ids; refusals by name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny_models import saved
from torch.nn import functional

from forecasting.config import FitConfig, FitsConfig, NetworksConfig
from forecasting.data.panel import Panel
from forecasting.explain import cosine_track, last_contexts, point_clouds
from forecasting.forecaster import Forecaster
from forecasting.forecaster_config import ForecasterConfig
from forecasting.panel_data import SeriesScale
from forecasting.s2ip import S2IP
from forecasting.s2ip_config import AnchorConfig, BackboneConfig, S2ipConfig
from forecasting.vocabulary import Vocabulary
from foretell.errors import UserError

FAST = FitConfig(lr=5e-3, batch=32, max_epochs=1, windows_per_epoch=64)


def _frame() -> pd.DataFrame:
    random, parts = np.random.default_rng(0), []
    for place, count in enumerate((200, 150, 180)):
        t = np.arange(count)
        y = 10.0**place * (3 + np.sin(2 * np.pi * t / (8 + 4 * place)) + random.normal(size=count))
        stamps = pd.date_range("2024-01-01", periods=count, freq="h")
        parts.append(pd.DataFrame({"item_id": f"s{place}", "timestamp": stamps, "target": y}))
    return pd.concat(parts, ignore_index=True)


def _config(model: Path, **options: object) -> ForecasterConfig:
    s2ip = S2ipConfig(
        trend_window=8, season=4, patch_length=6, stride=4, retrieved=3, head="flatten",
        anchors=AnchorConfig(count=12), backbone=BackboneConfig(model=str(model), layers=1),
    )  # fmt: skip
    return ForecasterConfig(
        models=["s2ip", "last"], horizon=6, context=24, freq="h", fits=FitsConfig(s2ip=FAST),
        networks=NetworksConfig(s2ip=replace(s2ip, **options)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model without a tokenizer."""
    return saved(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def fitted(model: Path) -> Forecaster:
    return Forecaster(_config(model)).fit(_frame(), val_size=40)


def _network(fitted: Forecaster) -> S2IP:
    network = fitted.models["s2ip"]
    assert isinstance(network, S2IP) and network.anchors is not None
    return network


def test_equals_retrieval_by_hand(fitted: Forecaster) -> None:
    table = fitted.explain(words=4)
    assert list(table.columns) == [
        "item_id", "rank", "anchor", "cosine", "words", "words_centred", "usage",
    ]  # fmt: skip
    assert table["rank"].tolist() == [1, 2, 3] * 3
    network, (panel, scale) = _network(fitted), _known(fitted)
    anchors, words = network.anchors().detach(), network.anchors.words
    for place, series in enumerate(("s0", "s1", "s2")):
        own = table[table.item_id == series]
        values = scale.scaled(panel)[panel.starts[place + 1] - 24 : panel.starts[place + 1]]
        tokens = network.prompt(torch.from_numpy(values).float()[None, :, None]).tokens
        cosine = functional.cosine_similarity(tokens[0].mean(0)[None], anchors)
        wanted = cosine.topk(3)
        assert own.anchor.tolist() == wanted.indices.tolist()
        np.testing.assert_allclose(own.cosine, wanted.values, atol=1e-5)
        first = anchors[own.anchor.iloc[0]]
        for column, mean in (("words", torch.zeros(48)), ("words_centred", words.mean(0))):
            near = functional.cosine_similarity(words - mean, (first - mean)[None])
            assert own[column].iloc[0] == " | ".join(f"#{i}" for i in near.topk(4).indices.tolist())
    usage = table.groupby("anchor").size() / 3
    np.testing.assert_allclose(table.usage, usage.loc[table.anchor])


def test_series_unseen_in_fit_and_saved_forecasters(fitted: Forecaster, tmp_path: Path) -> None:
    other = _frame().assign(item_id=lambda f: "new_" + f.item_id)
    table = fitted.explain(other[other.item_id != "new_s1"])
    assert table.item_id.unique().tolist() == ["new_s0", "new_s2"]
    fitted.save(tmp_path / "kept")
    loaded = Forecaster.load(tmp_path / "kept")
    pd.testing.assert_frame_equal(loaded.explain(), fitted.explain())


def test_what_cannot_be_explained(fitted: Forecaster, model: Path) -> None:
    with pytest.raises(UserError, match="explained of s2ip alone; the fit has last"):
        Forecaster(replace(_config(model), models=["last"])).fit(_frame()).explain()
    with pytest.raises(UserError, match="nothing was fitted yet: call fit"):
        Forecaster(_config(model)).explain()
    bare = Forecaster(_config(model, retrieved=0)).fit(_frame(), val_size=40)
    with pytest.raises(UserError, match="fitted with retrieved 0"):
        bare.explain()
    with pytest.raises(UserError, match="words must be at least 1"):
        fitted.explain(words=0)
    with pytest.raises(UserError, match="no series s9; the first are s0, s1, s2"):
        cosine_track(fitted, None, series="s9")
    with pytest.raises(UserError, match="stride must be at least 1"):
        cosine_track(fitted, None, stride=0)


def test_track_over_time(fitted: Forecaster) -> None:
    track = cosine_track(fitted, None, series="s1", stride=5)
    assert track.series == "s1" and len(track.ends) == (150 - 24) // 5 + 1
    assert track.ends[-1] == _frame().timestamp[150 + 200 - 1]
    assert (track.ends[-1] - track.ends[-2]) == pd.Timedelta(hours=5)
    own = fitted.explain().query("item_id == 's1'")
    assert track.anchors[track.chosen[-1]].tolist() == own.anchor.tolist()
    np.testing.assert_allclose(track.cosine[-1, track.chosen[-1]], own.cosine, atol=1e-5)
    counts = torch.bincount(track.chosen.flatten())
    assert (counts[:-1] >= counts[1:]).all()  # the most often retrieved first


def test_clouds_are_of_one_space(fitted: Forecaster) -> None:
    clouds = point_clouds(fitted, most=15)
    assert clouds.tokens.shape == clouds.prefixed.shape == (15, 48)
    assert clouds.anchors.shape == (12, 48) and len(clouds.used) == 12
    few = point_clouds(fitted, most=2)
    assert len(few.tokens) == 2 and int((~few.used).sum()) == 2 and 3 <= int(few.used.sum()) <= 6
    prompt = _network(fitted).prompt(last_contexts(fitted, None)[1])
    sums = prompt.sequence.shape[1] * prompt.sequence.mean(1)
    torch.testing.assert_close(
        sums, prompt.tokens.sum(1) + prompt.sequence[:, :3].sum(1), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(clouds.tokens[-1], _tokens_of_earliest(fitted))


def _known(fitted: Forecaster) -> tuple[Panel, SeriesScale]:
    assert fitted.fitted is not None
    return fitted.fitted.panel, fitted.fitted.scale


def _tokens_of_earliest(fitted: Forecaster) -> torch.Tensor:
    """Of the last series: as many horizons back as there is a context."""
    panel, scale = _known(fitted)
    stop = panel.starts[3] - (180 - 24) // 6 * 6
    values = torch.from_numpy(scale.scaled(panel)[stop - 24 : stop]).float()
    return _network(fitted).prompt(values[None, :, None]).tokens[0].mean(0)


def test_words_of_a_tokenizer(tmp_path: Path, model: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    assert Vocabulary(str(model)).word(7) == "#7"
    folder = saved(tmp_path / "named", "bert")
    from transformers import PreTrainedTokenizerFast

    words = tokenizers.models.WordLevel({"seven": 0, "eight": 1, "?": 2}, unk_token="?")
    PreTrainedTokenizerFast(tokenizer_object=tokenizers.Tokenizer(words)).save_pretrained(folder)
    named = Vocabulary(str(folder))
    assert [named.word(number) for number in (0, 1)] == ["seven", "eight"]
    assert named.word(200) == "#200"  # a model may have more rows than words
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match="tokenizer in .* cannot be read"):
        Vocabulary(str(folder))
