"""Poses, rays, grids, range views and boxes."""
