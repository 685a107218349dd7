"""A Policy reaches the worker whole, and the worker needs nothing heavy to read it."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import msgspec
import pytest

from pointsman.config.load import Options, load
from pointsman.config.transport import decode, encode


def test_a_policy_survives_the_pipe(full: Path, env: dict[str, str], today: date) -> None:
    policy = load(full, env, Options(today=today)).policy
    assert decode(encode(policy)) == policy


def test_bytes_that_are_no_policy_are_refused() -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode(b"\x80")


def test_reading_a_policy_loads_no_heavy_library() -> None:
    code = (
        "import sys, pointsman.config.transport as t; "
        "print([m for m in ('pydantic', 'yaml', 'genai_prices', 'typer', 'asyncio') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
