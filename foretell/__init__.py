"""What every head shares: sequence-mixer blocks and the runtime around a run."""

__version__ = "0.1.0"
