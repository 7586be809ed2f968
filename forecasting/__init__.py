"""Series head: long- and short-term forecasting of time series, and next-slot accident risk.

Series in long format go in, forecasts with their baselines come out. The head shares its
sequence-mixer blocks and the runtime with the other heads through `foretell` and imports none of
them.
"""
