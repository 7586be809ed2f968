"""Simulated drives: a street with traffic, ray-cast by a LiDAR and written in real formats."""
