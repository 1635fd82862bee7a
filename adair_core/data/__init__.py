"""Image files in and out, data sets of clean images and of pairs, patch sampling and pair synthesis.

Data flow one way: bytes -> `ImageFile` -> tensor, and back. Training reads through `PatchPairs`, in which everything
about sample n is a pure function of (seed, n).
"""
