"""Versions: every config version that was served, with its text. Standard library only: the supervisor writes them.

In a data folder stand:

    configs/versions.jsonl      one line (Entry) per change of what is served, oldest first; a torn line is passed over
    configs/VERSION.yaml        the text of a version, without literal secrets; the newest MOST_TEXTS
    configs/intent.json         who is about to write which text over the config file: left by a rollback
    run/reload.json             the outcome of the last look at the config
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

MOST_TEXTS = 200
MOST_LINE_BYTES = 8 * 1024 * 1024  # of versions.jsonl; beyond, the older half of it is dropped
RELOAD = Path("run") / "reload.json"


class Entry(TypedDict):
    """Say when a version began to be served, and where it came from."""

    version: str
    at_ms: int  # Unix milliseconds
    author: str
    trigger: str  # start, file, signal, admin API, prices
    source: str  # file name, or `environment`
    sha256: str  # of the text as it stood in the file; "" without one
    redacted: bool  # the kept text lacks literal secrets


class Versions:
    """Keep and find the versions of one data folder. Methods raise OSError when the folder cannot be used."""

    def __init__(self, data: Path) -> None:
        self.folder = data / "configs"
        self.lines = self.folder / "versions.jsonl"
        self._intent = self.folder / "intent.json"

    def append(self, entry: Entry) -> None:
        """Add one entry, in one write; a torn line before it is closed first."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        line = json.dumps(entry).encode() + b"\n"
        fd = os.open(self.lines, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(fd).st_size
            torn = size and os.pread(fd, 1, size - 1) != b"\n"
            os.write(fd, b"\n" + line if torn else line)
        finally:
            os.close(fd)
        if size > MOST_LINE_BYTES:
            kept = self.lines.read_bytes()[-MOST_LINE_BYTES // 2 :]
            replace(self.lines, kept[kept.index(b"\n") + 1 :])

    def entries(self) -> list[Entry]:
        """Return all entries, oldest first."""
        return list(self._entries())

    def _entries(self) -> Iterator[Entry]:
        try:
            lines = self.lines.read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                found = json.loads(line)
                yield Entry(**{name: found[name] for name in Entry.__annotations__})  # type: ignore[typeddict-item]

    def keep_text(self, version: str, text: str) -> None:
        """Store the text of a version, and drop the oldest beyond MOST_TEXTS."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace(self._path(version), text.encode())
        texts = sorted(self.folder.glob("*.yaml"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in texts[MOST_TEXTS:]:
            path.unlink(missing_ok=True)

    def text(self, version: str) -> str | None:
        """Return the kept text of a version; None when there is none (any more)."""
        try:
            return self._path(version).read_text("utf-8")
        except FileNotFoundError:
            return None

    def intend(self, sha256: str, author: str) -> None:
        """Note who is about to make a text with this digest the config."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace(self._intent, json.dumps({"sha256": sha256, "author": author}).encode())

    def intended(self, sha256: str) -> str:
        """Return who meant to make a text with this digest the config; "" when nobody said so."""
        try:
            found = json.loads(self._intent.read_bytes())
            return str(found["author"]) if found["sha256"] == sha256 else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def _path(self, version: str) -> Path:
        return self.folder / f"{version}.yaml"


def outcome(data: Path) -> dict[str, Any]:
    """Return what the supervisor noted of the last look at the config; empty before the first."""
    try:
        found = json.loads((data / RELOAD).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def replace(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file so that a reader, also after a crash, finds the old or the new content whole."""
    fresh = path.with_name(f".{path.name}.new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, mode)
        file.write(data)
        file.flush()
        os.fsync(fd)
    fresh.replace(path)
