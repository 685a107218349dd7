"""The whole command line, as `pointsman --help` shows it."""

from __future__ import annotations

from pointsman.cli.root import command_line

app = command_line()
