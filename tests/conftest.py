"""A plugin that fails is an error in the tests, and commands leave this process alone; some tests switch this off."""

from __future__ import annotations

import os

os.environ["ADAIR_STRICT_PLUGINS"] = "1"
os.environ["ADAIR_TUNE"] = "0"
