"""Recorded drives: readers, the index, windows and what a training sample holds."""
