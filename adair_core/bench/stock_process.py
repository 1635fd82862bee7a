"""A competitor in a process of its own, with the system's stock allocator, timed in the same rounds as the others.

``python -m adair_core.bench.stock_process CASE SIZE THREADS`` answers each line on its input with a line of output: for
``warm`` its allocator, for ``time`` the seconds of one call. The clock runs in that process; the pipe is not measured.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import IO

from adair_core.bench.allocator import stock_environment
from adair_core.bench.case import EAGER, Case
from adair_core.errors import AdairError


class StockProcess:
    """The eager form of a case, with the stock allocator.

    Args:
        case: which one.
        size: that the case is of.
        threads: of PyTorch.

    Attributes:
        allocator: what it does there, once it is warm.
        process: the process's number.
    """

    def __init__(self, case: Case, size: str, threads: int) -> None:
        command = [sys.executable, "-m", "adair_core.bench.stock_process", case.name, size, str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=stock_environment()
        )
        self.process = self._process.pid
        self.allocator = "unknown"

    def warm_up(self) -> None:
        """Let it build its tensors and warm up."""
        self.allocator = self._ask("warm")

    def seconds(self) -> float:
        """Let it run, and return the seconds of one call."""
        return float(self._ask("time"))

    def close(self) -> None:
        """End the process: it has no more to answer."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):  # it ended before, with a question still unread
                pipe.close()
        self._process.wait()

    def _ask(self, question: str) -> str:
        answers, questions = self._process.stdout, self._process.stdin
        assert answers is not None
        assert questions is not None
        try:
            questions.write(f"{question}\n")
            questions.flush()
            answer = answers.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.close()
            raise AdairError(f"the process with the stock allocator ended with exit code {self._process.returncode}")
        return answer.strip()


def serve(name: str, size: str, threads: int, *, questions: IO[str], answers: IO[str]) -> None:
    """Answer until nobody asks any more."""
    import torch

    from adair_core.bench import allocator
    from adair_core.bench.cases import case_named
    from adair_core.bench.rounds import Local

    torch.set_num_threads(threads)
    competitor: Local | None = None
    for line in questions:
        if competitor is None:
            competitor = Local(case_named(name, size).make().rows[EAGER]())  # type: ignore[arg-type]
        if line.strip() == "warm":
            competitor.warm_up()
            print(allocator.describe(), file=answers, flush=True)
        else:
            print(repr(competitor.seconds()), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), questions=sys.stdin, answers=sys.stdout)
