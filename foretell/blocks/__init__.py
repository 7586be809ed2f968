"""Sequence blocks of all heads: state in, state out."""
