"""Scans, tensors to tensors: a loop oracle of each in `naive`, its fast forms beside it.

`linear_scan` decays every channel by itself, `ssd` a matrix state by one scalar a head,
`softmax_scan` is the prefix softmax, `fft_conv` a time-invariant kernel. All take and return the
carried state, are differentiable by plain autograd and change no input in place.
"""
