"""What `foretell.blocks` needs to be installed."""

import subprocess
import sys

ALONE = """
import sys

import jaxtyping
import torch

class Absent:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names | {"foretell", "jaxtyping", "torch"}:
            raise ModuleNotFoundError(f"{name} is not installed")

loaded = {name for name in sys.modules if name.startswith("foretell")}
assert not loaded, loaded
sys.meta_path.insert(0, Absent())
import foretell.blocks

for name in foretell.blocks.__all__:
    getattr(foretell.blocks, name)
block = foretell.blocks.GRU(2, 3)
foretell.blocks.apply_masks(block, foretell.blocks.magnitude_masks(block, 50))
block(torch.zeros(1, 4, 2))
"""


def test_torch_and_jaxtyping_are_enough():
    """What they bring themselves, such as numpy, is there too."""
    subprocess.run([sys.executable, "-c", ALONE], check=True)
