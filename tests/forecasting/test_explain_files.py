"""The verb's table and pictures, what it refuses; the plane of PCA."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny_models import saved

from forecasting.anchor_figures import principal_plane
from forecasting.config import FitConfig, FitsConfig, NetworksConfig
from forecasting.forecaster import Forecaster
from forecasting.forecaster_config import ExplainConfig, ForecasterConfig
from forecasting.s2ip_config import AnchorConfig, BackboneConfig, S2ipConfig
from foretell.cli import main

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sites, 150 hours."""
    random, t = np.random.default_rng(0), np.arange(150)
    parts = [
        pd.DataFrame({
            "unique_id": site, "ds": pd.date_range("2024-05-01", periods=150, freq="h"),
            "y": level + np.sin(2 * np.pi * t / 12) + 0.2 * random.normal(size=150),
        })
        for site, level in (("north", 5), ("south", 50))
    ]  # fmt: skip
    path = tmp_path_factory.mktemp("data") / "sites.csv"
    pd.concat(parts).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def kept(file: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Saved forecasters by their head."""
    folder = tmp_path_factory.mktemp("kept")
    s2ip = S2ipConfig(
        trend_window=8, season=4, patch_length=6, stride=4, retrieved=3,
        anchors=AnchorConfig(count=12),
        backbone=BackboneConfig(model=str(saved(folder / "gpt2")), layers=1),
    )  # fmt: skip
    fast = FitConfig(lr=5e-3, batch=32, max_epochs=1, windows_per_epoch=64)
    config = ForecasterConfig(models=["s2ip"], horizon=6, context=24, freq="h",
                              fits=FitsConfig(s2ip=fast))  # fmt: skip
    for head in ("flatten", "components"):
        networks = NetworksConfig(s2ip=replace(s2ip, head=head))
        fitted = Forecaster(replace(config, networks=networks))
        fitted.fit(pd.read_csv(file, parse_dates=["ds"]), val_size=40).save(folder / head)
    return {head: folder / head for head in ("flatten", "components")}


def _explain(out: Path, *words: str) -> int:
    return main(["forecast", "explain", "--out", str(out), "--quiet", *words])


def test_table_and_pictures(kept: dict[str, Path], file: Path, tmp_path: Path) -> None:
    model = kept["components"]
    words = ("--model", str(model), "--data.path", str(file), "--parts", "--words", "2")
    assert _explain(tmp_path, *words, "--track", "south", "--stride", "3") == 0
    table = pd.read_csv(tmp_path / "explain.csv")
    pd.testing.assert_frame_equal(
        table, Forecaster.load(model).explain(words=2), check_dtype=False, check_exact=False
    )
    pictures = {path.name: path.read_bytes() for path in (tmp_path / "figures").iterdir()}
    assert set(pictures) == {"anchors.png", "cosines.png", "embeddings.png", "parts.png"}
    for content in pictures.values():
        assert content.startswith(b"\x89PNG") and len(content) > 10_000


def test_without_a_file_there_is_no_picture_over_time(
    kept: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["forecast", "explain", "--model", str(kept["flatten"]), "--out", str(tmp_path)]
    assert main(words) == 0
    assert "no figures/cosines.png: north has one window here" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "anchors.png", "embeddings.png",
    }  # fmt: skip


@pytest.mark.parametrize(("words", "told"), [
    (("--parts",), "--parts: head flatten does not tell the parts of a forecast apart"),
    (("--track", "west", "--data.path", "FILE"), "no series west; the first are north, south"),
    (("--data.path", "none.csv"), "no file none.csv"),
    (("--words", "0"), "words, series and stride must be at least 1"),
])  # fmt: skip
def test_wrong_input_is_one_line(
    kept: dict[str, Path], file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...], told: str,
) -> None:  # fmt: skip
    given = [str(file) if word == "FILE" else word for word in words]
    capsys.readouterr()
    assert _explain(tmp_path, "--model", str(kept["flatten"]), *given) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("foretell")]
    assert len(lines) == 1 and told in lines[0]


def test_model_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _explain(tmp_path) == 2
    assert "--model is missing" in capsys.readouterr().err
    with pytest.raises(ValueError, match="at least 1"):
        ExplainConfig(stride=0)


def test_principal_plane() -> None:
    """Points on a plane of five dimensions keep their distances; shares are those of variance."""
    generator = np.random.default_rng(0)
    plane, _ = np.linalg.qr(generator.normal(size=(5, 2)))
    flat = generator.normal(size=(40, 2)) * (3.0, 1.0)
    found, shares = principal_plane(flat @ plane.T + 7)
    wanted = np.linalg.norm(flat[:, None] - flat[None], axis=-1)
    np.testing.assert_allclose(np.linalg.norm(found[:, None] - found[None], axis=-1), wanted)
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(shares, found.var(0) / found.var(0).sum())
