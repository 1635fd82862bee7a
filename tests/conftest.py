"""A plugin that fails is an error in the tests, and commands leave this process alone; some tests switch this off."""

from __future__ import annotations

import os
import signal

os.environ["ADAIR_STRICT_PLUGINS"] = "1"
os.environ["ADAIR_TUNE"] = "0"

# A shell makes what it starts in the background ignore Ctrl-C, and Python then does not listen for it either.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
