"""Errors of forecasts: averaged over all windows, and the measures of the M4 competition."""
