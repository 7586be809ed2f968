"""Graphs head: link prediction, edge and node tasks on graphs that change over time.

Snapshots of a graph go in; a graph convolution whose weights evolve by a recurrent block predicts
the next snapshot's links and labels. The head shares its recurrent blocks and the runtime with the
other heads through `foretell` and imports none of them.
"""
