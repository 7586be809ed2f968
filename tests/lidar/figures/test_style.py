import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from lidar.figures.style import (
    MODEL,
    colour_map,
    gif_colours,
    house_style,
    panel_grid,
    who_colours,
    who_label,
)


def lightness(rgb: np.ndarray) -> np.ndarray:
    """CIE L* of sRGB colours."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    return 116 * np.cbrt(np.maximum(luminance, 0.008857)) - 16


@pytest.mark.parametrize("name", ["height", "error", "range"])
def test_sequential_maps_are_monotonic_in_lightness(name: str) -> None:
    steps = np.diff(lightness(colour_map(name)(np.linspace(0, 1, 64))[:, :3]))
    assert (steps > 0).all() or (steps < 0).all()


def test_signed_map_is_lightest_at_zero() -> None:
    values = lightness(colour_map("signed_error")(np.linspace(0, 1, 65))[:, :3])
    assert values.argmax() == 32
    assert (np.diff(values[:33]) > 0).all() and (np.diff(values[32:]) < 0).all()


def test_whos_keep_their_colours() -> None:
    colours = who_colours(["copy_last", "trend", "no_time"])
    assert colours["trend"] == MODEL == who_colours(["trend"])["trend"]
    assert len(set(colours.values())) == 3
    assert who_label("copy_last") == "copy last"


def test_moving_figures_know_white_and_fit_a_palette() -> None:
    colours = gif_colours()
    assert (colours[0] == 255).all()
    assert len(colours) <= 64


def test_style_returns_the_callers_settings() -> None:
    with matplotlib.rc_context({"font.size": 23.0}):
        with house_style():
            assert matplotlib.rcParams["font.size"] == 9
        assert matplotlib.rcParams["font.size"] == 23.0


def test_panels_have_the_size_asked_for() -> None:
    figure, axes = panel_grid(2, 3, panel_in=(1.5, 1.0), margin_in=(0.5, 0.2, 0.3, 0.1))
    np.testing.assert_allclose(figure.get_size_inches(), [5.36, 2.48])
    assert [len(row) for row in axes] == [3, 3]
    for axis in (axes[0][0], axes[1][2]):
        box = axis.get_window_extent()
        np.testing.assert_allclose([box.width, box.height], [300, 200])
    assert axes[0][0].get_position().y0 > axes[1][0].get_position().y0


def test_naming_the_figures_imports_neither_matplotlib_nor_torch() -> None:
    code = (
        "import sys, lidar.figures as f; f.bev_comparison, f.sweep_gif, f.training_curves; "
        "print({'matplotlib', 'torch', 'PIL', 'lightning'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
