"""Tables of time series: readers, splits, scaling, windows."""
