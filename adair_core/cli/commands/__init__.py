"""One file for each command: ``new_plugin.py`` holds ``command``, which is ``adair new-plugin``."""

COMMANDS = (
    "pretrain",
    "train",
    "restore",
    "diagnose",
    "demo",
    "evaluate",
    "plugins",
    "adapters",
    "weights",
    "convert",
    "export",
    "bench",
    "new-plugin",
    "doctor",
)
"""The built-in commands, in the order of ``adair --help``."""
