"""A step in a process of its own: whatever becomes of it, there is a result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import Any

FOUND = "found: "
"""Begins the line in which a step says what it found."""

KEPT = 60


def apart(words: Sequence[str], *, limit: float) -> dict[str, Any]:
    """Run a command in a process group, and end all of the group when its time is over.

    Args:
        words: the command; it prints `FOUND` and JSON, and exits with 0, or with 1 if something failed.
        limit: seconds.

    Returns:
        ``status`` ("passed" or what happened), ``seconds``, ``found`` if it said so, and the end of its output if it
        did not pass.
    """
    begun = time.monotonic()
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True
    )
    try:
        printed, _ = process.communicate(timeout=limit)
        status = {0: "passed", 1: "failed"}.get(process.returncode, f"crashed ({process.returncode})")
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        printed, _ = process.communicate()
        status = f"ended after {limit:g} s"
    lines = printed.splitlines()
    found = [json.loads(line.removeprefix(FOUND)) for line in lines if line.startswith(FOUND)]
    result: dict[str, Any] = {"status": status, "seconds": time.monotonic() - begun}
    if found:
        result["found"] = found[-1]
    if status != "passed":
        result["output"] = [line for line in lines if not line.startswith(FOUND)][-KEPT:]
    return result
