"""Stages of EvolveGCN's training and test steps, and what the released code itself took."""

TRAIN = ("negatives + snapshots", "GCN forward", "decoder + loss", "backward + step")
TEST = ("sample", "scores", "metrics")
RELEASED: dict[str, dict[str, tuple[float, ...]]] = {
    "o": {"train": (0.107, 0.050, 0.222, 0.254), "test": (0.47, 7.99, 1.82)},
    "h": {"train": (0.095, 0.052, 0.115, 0.218), "test": (0.47, 7.99, 1.82)},
}
"""CPU seconds of the released code itself on UCI messages, one thread, +-30 %: a sample of about
95,000 pairs, as the first ten have on average (the mean of all 52 is 30,159), and a test step."""
