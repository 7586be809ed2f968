"""Public names are imported when used; configurations know no torch."""

import subprocess
import sys

import forecasting


def test_public_names_are_imported_when_used() -> None:
    from forecasting.linear import DLinear

    assert forecasting.DLinear is DLinear
    assert set(dir(forecasting)) == set(forecasting.__all__) == set(forecasting._HOME)
    for name in forecasting.__all__:
        assert getattr(forecasting, name).__name__ == name


def test_configurations_import_no_torch() -> None:
    code = (
        "import sys, forecasting, forecasting.config, forecasting.cli; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
