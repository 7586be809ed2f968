"""Computed once for the same words; damaged files and folders are told and do no harm."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from forecasting import anchor_cache
from forecasting.anchor_cache import cache_folder, kept_rows
from forecasting.anchors import Anchors
from forecasting.s2ip_config import AnchorConfig

WORDS = torch.randn(60, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def messages(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Whatever an earlier test did to the package's loggers."""
    logger = logging.getLogger(anchor_cache.__name__)
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def _never() -> torch.Tensor:
    raise AssertionError("computed again")


def test_k_means_and_directions_are_computed_once(
    own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = [AnchorConfig(map="kmeans", count=6), AnchorConfig(map="pca", count=6),
               AnchorConfig(map="lowrank", count=6, rank=4)]  # fmt: skip
    first = []
    for config in configs:
        torch.manual_seed(0)
        first.append(Anchors(config, WORDS)())
    files = {path.name.split("_")[0] for path in own_cache.iterdir()}
    assert files == {"kmeans0", "pca"} and len(list(own_cache.iterdir())) == 2
    monkeypatch.setattr("forecasting.anchors._centroids", lambda *args: _never())
    monkeypatch.setattr("forecasting.anchors.principal_directions", lambda *args: _never())
    for config, wanted in zip(configs, first, strict=True):
        torch.manual_seed(0)
        assert torch.equal(Anchors(config, WORDS)(), wanted)
    with pytest.raises(AssertionError, match="computed again"):  # other words
        Anchors(configs[0], WORDS + 1)
    with pytest.raises(AssertionError, match="computed again"):  # another count
        Anchors(AnchorConfig(map="kmeans", count=5), WORDS)


def test_damaged_files_are_computed_anew(
    own_cache: Path, messages: pytest.LogCaptureFixture
) -> None:
    rows = torch.randn(3, 8)
    assert torch.equal(kept_rows("some", WORDS, 3, lambda: rows), rows)
    (path,) = own_cache.iterdir()
    whole = path.read_bytes()
    for content in (b"", whole[:-5], whole.replace(b"rows", b"rowz")):
        path.write_bytes(content)
        messages.clear()
        assert torch.equal(kept_rows("some", WORDS, 3, lambda: rows), rows)
        assert f"{path} is damaged and computed anew" in messages.text
        assert path.read_bytes() == whole
    messages.clear()
    assert torch.equal(kept_rows("some", WORDS, 3, _never), rows) and not messages.text


def test_a_folder_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert kept_rows("some", WORDS, 60, lambda: WORDS) is WORDS
    assert "some will be computed anew next time: cannot write" in messages.text


def test_where_the_folder_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    for given in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", given)
        assert cache_folder() == Path("/home/somebody/.cache/foretell")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert cache_folder() == Path("/elsewhere/foretell")
