"""Ctrl-C and SIGTERM as a request: finish the step, write a checkpoint, stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class StopRequest:
    """Notes that the user wants the run to stop; a second Ctrl-C stops at once.

    SIGTERM may come twice for one wish: to all processes of a job from its scheduler, and again from torchrun, which
    passes on its own.

    A context manager: inside it the signals are ours (in the main thread only, where Python allows it), after it they
    are what they were.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
