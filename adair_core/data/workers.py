"""How loader processes are started, and why they are not forked.

libvips keeps idle threads. A process that is forked after its parent has decoded an image believes that it has these
threads, hands them its work, and waits for ever. So loader processes come from a server process that has never
decoded anything.
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.context import BaseContext

from adair_core.errors import DataError

_computing_process: int | None = None


def worker_context() -> BaseContext:
    """Return what ``torch.utils.data.DataLoader(multiprocessing_context=...)`` needs for data sets of images.

    As with every start method but fork, a script that trains needs ``if __name__ == "__main__":`` around its work.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["adair_core.data.patches"])  # so that torch is imported once, not in each worker
    return context


def before_computing() -> None:
    """Note that this process lets libvips compute, which it must not after a fork.

    Raises:
        DataError: the parent of this forked process has; going on might hang.
    """
    global _computing_process
    process = os.getpid()
    if _computing_process not in (None, process):
        raise DataError(
            "images: cannot be decoded in a forked process, where libvips may wait for ever; give the DataLoader "
            "multiprocessing_context=adair_core.data.workers.worker_context(), or use workers=0"
        )
    _computing_process = process
