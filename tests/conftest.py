"""A plugin that fails is an error in the tests; those about failing plugins switch this off."""

from __future__ import annotations

import os

os.environ["ADAIR_STRICT_PLUGINS"] = "1"
