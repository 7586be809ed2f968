"""Snapshots of a changing graph: readers, generators, features, splits, PyG objects."""
