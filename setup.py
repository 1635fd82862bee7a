"""Package metadata lives in pyproject.toml; this file is where the native modules are declared."""

from setuptools import setup

setup()
