"""`python -m foretell` and the installed command."""

import sys

from foretell.cli import main


def run() -> None:
    """Leave the process with the command's exit code."""
    sys.exit(main())


if __name__ == "__main__":
    run()
