"""The scripts are no package: they import each other by the name of the file."""

import sys
from pathlib import Path

SCRIPTS = str(Path(__file__).resolve().parents[2] / "tools" / "reproduce")
if SCRIPTS not in sys.path:
    sys.path.insert(0, SCRIPTS)
