"""The command line and the metrics are documented as they are, and the command line is quick to answer."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from command_line import app
from pace import slowness
from pointsman import __version__
from pointsman.cli.root import COMMANDS, command_line
from pointsman.control.measures import CONTROL_METRICS, LABELLED_METRICS
from pointsman.observe.metrics import METRICS
from pointsman.stores.ledger import GROUPS

DOCS = Path(__file__).parents[2] / "docs"


def commands() -> Iterator[tuple[str, set[str]]]:
    """Yield each command with its options."""
    waiting = list(typer.main.get_command(app).commands.items())  # type: ignore[attr-defined]
    while waiting:
        name, command = waiting.pop()
        if hasattr(command, "commands"):
            waiting += [(f"{name} {inner}", one) for inner, one in command.commands.items()]
            continue
        options = {o for p in command.params for o in (*p.opts, *p.secondary_opts) if o.startswith("-")}
        yield name, options - {"--help", "-h"}


def sections() -> dict[str, str]:
    parts = re.split(r"^## `pointsman (.*)`\n", (DOCS / "cli.md").read_text(), flags=re.M)
    return {re.sub(r" [\[A-Z].*", "", name): text for name, text in zip(parts[1::2], parts[2::2], strict=True)}


def test_every_command_and_option_is_documented_and_no_other() -> None:
    documented = {name: set(re.findall(r"^\| .*", text, flags=re.M)) for name, text in sections().items()}
    listed = {
        name: {o for row in rows for o in re.findall(r"`(--?[a-z-]+)`", row.split("|")[1])}
        for name, rows in documented.items()
    }
    assert listed == dict(commands())


def test_every_column_of_usage_is_documented() -> None:
    assert all(f"`{name}`" in sections()["usage"] for name in GROUPS)


def test_every_metric_is_documented_and_no_other() -> None:
    documented = re.findall(r"^\| `((?:pointsman|gen_ai)_\w+)` \| (\w+)", (DOCS / "metrics.md").read_text(), flags=re.M)
    known = {name: kind for name, (kind, *_) in (METRICS | CONTROL_METRICS | LABELLED_METRICS).items()}
    assert dict(documented) == known and len(documented) == len(known)


def test_help_and_version() -> None:
    help_text = CliRunner().invoke(app, ["--help"])
    assert help_text.exit_code == 0
    for name in ("serve", "check", "models", "usage", "explain", "tail", "mock", "config"):
        assert name in help_text.output
    version = CliRunner().invoke(app, ["--version"])
    assert version.exit_code == 0 and version.output == f"pointsman {__version__}\n"


def test_a_command_is_made_without_the_others_and_works_alike() -> None:
    assert list(typer.main.get_command(command_line("usage")).commands) == ["usage"]  # type: ignore[attr-defined]
    everything = list(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert sorted(everything) == sorted(COMMANDS)
    for first in ("", "--version", "usge"):
        assert list(typer.main.get_command(command_line(first)).commands) == everything  # type: ignore[attr-defined]
    for name in COMMANDS:
        alone, among = (CliRunner().invoke(one, [name, "--help"]) for one in (command_line(name), app))
        assert alone.exit_code == 0 and alone.output == among.output


@pytest.mark.serial
def test_help_takes_less_than_300_ms() -> None:
    times_s = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "pointsman.cli", "--help"], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times_s.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times_s) <= 0.3 * slowness()  # of CPU: other tests run beside it
