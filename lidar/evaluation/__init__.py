"""Scores of forecasts: metrics, baselines and published protocols."""
