"""One of two processes that share a batch: a program, started by a test of the operators."""

from __future__ import annotations

import copy
import os
from dataclasses import replace

import torch
from operator_cases import IMAGE, IMAGE_CASES, Case, module_of
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

HALF = 3
"""Images. The adapters of a batch in `operator_cases` repeat after as many: both halves see the same."""


def check(case: Case, rank: int) -> None:
    """Compare the gradients of `DistributedDataParallel` with those of the whole batch in this process."""
    whole = replace(case, shapes=tuple((2 * HALF, *IMAGE[1:]) if shape == IMAGE else shape for shape in case.shapes))
    module, images = module_of(whole, torch.float32)
    twin = copy.deepcopy(module)
    twin(*images).square().sum().backward()
    shared = DistributedDataParallel(module)
    shared(*(value[rank * HALF : (rank + 1) * HALF] for value in images)).square().sum().backward()
    for (name, value), expected in zip(module.named_parameters(), twin.parameters(), strict=True):
        # The mean of the two processes' sums.
        error = float((2 * value.grad - expected.grad).norm() / expected.grad.norm())
        assert error < 1e-5, (case.name, name, error)


def main() -> None:
    """Check every operator that takes images."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    for case in IMAGE_CASES:
        check(case, int(os.environ["RANK"]))
    distributed.destroy_process_group()
    print(len(IMAGE_CASES), "cases", flush=True)
    # gloo's threads outlive the group. One that lets go of a tensor while the interpreter shuts down ends the process
    # with "terminate called without an active exception" (pytorch/pytorch#179291): so there is no shutting down.
    os._exit(0)


if __name__ == "__main__":
    main()
