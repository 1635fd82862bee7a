"""Benchmarks: what is measured, how, and how fast the machine could do it at all.

`cases` says what is measured and who competes, `rounds` takes the competitors' times in turn, `roofline` measures what
the machine reaches, `run` puts these together into the `Report` of `report`, and `targets` judges it. ``adair bench``,
the pytest suites in ``benchmarks/`` and ``tools/bench_all.py`` all measure through here.
"""
