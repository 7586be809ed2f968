"""Forecasts that need no training, or a closed form: every result stands beside them."""
