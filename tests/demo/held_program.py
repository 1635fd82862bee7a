"""``adair`` with restorations that wait as long as a file exists, or break if it says "break".

``python held_program.py ZOO HOLD RUNNING ARGUMENTS...``; ZOO is a folder that `made_up_zoo.write_zoo` wrote.

A process of its own: Gradio leaves event loops and sockets open, which would be warnings in some other test.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from made_up_zoo import use_zoo

from adair_core.cli.program import run
from adair_core.demo import Restorer

if __name__ == "__main__":
    zoo, hold, running = map(Path, sys.argv[1:4])
    use_zoo(zoo)
    choose = Restorer.choose

    def held(self, label, image):
        running.touch()
        if hold.exists() and hold.read_text() == "break":
            raise RuntimeError("made up to break")
        while hold.exists():
            time.sleep(0.01)
        return choose(self, label, image)

    Restorer.choose = held
    sys.exit(run(sys.argv[4:]))
