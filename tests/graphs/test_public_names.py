import subprocess
import sys

import graphs


def test_public_names_are_imported_when_used():
    from graphs.network import GraphNetwork

    assert graphs.GraphNetwork is GraphNetwork
    assert set(dir(graphs)) == set(graphs.__all__) == set(graphs._HOME)
    for name in graphs.__all__:
        assert getattr(graphs, name).__name__ == name


def test_configurations_import_no_torch():
    code = "import sys, graphs, graphs.config, graphs.cli; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
