"""Metrics of links, classes and numbers, and the three protocols."""
