"""The steps of `tools/gpu_check.py`: what a visit to a machine with a GPU measures."""
