"""The command line: `nepenthe` and `python -m flows.cli`."""

from flows.cli.app import app, main

__all__ = ["app", "main"]
