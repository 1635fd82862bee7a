"""A step in a process of its own: whatever becomes of it, there is a result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOUND = "found: "
"""Begins the line in which a step says what it found."""

KEPT = 60


def apart(words: Sequence[str], *, limit: float, log: Path) -> dict[str, Any]:
    """Run a command in a process group, and end all of the group when its time is over.

    Args:
        words: the command; it prints `FOUND` and JSON, and exits with 0, or with 1 if something failed.
        limit: seconds.
        log: gets all that it prints, as it prints it.

    Returns:
        ``status`` ("passed" or what happened), ``seconds``, ``found`` if it said so, and the end of its output if it
        did not pass.
    """
    begun = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as printed:
        process = subprocess.Popen(words, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        code = process.wait(timeout=limit)
        status = {0: "passed", 1: "failed"}.get(code, f"crashed ({code})")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        status = f"ended after {limit:.0f} s"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    found = [json.loads(line.removeprefix(FOUND)) for line in lines if line.startswith(FOUND)]
    result: dict[str, Any] = {"status": status, "seconds": time.monotonic() - begun}
    if found:
        result["found"] = found[-1]
    if status != "passed":
        result["output"] = [line for line in lines if not line.startswith(FOUND)][-KEPT:]
    return result
