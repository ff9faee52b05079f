"""Loops over arrays on the processor, compiled to its own instructions by numba."""
