"""Log: what a process says on standard error: lines for people, or a JSON object a line.

It never waits for a reader: a pipe that is full, a disk that is full or a reader that has stopped costs lines, which are
counted, and nothing else (fault 100). It holds no secret of the config and nothing that looks like one. What is said again and
again is folded. Standard library only, as the supervisor uses it too. EVENTS documents every name; a test holds
docs/observability.md against it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import select
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any

STANDARD_ERROR = 2
MOST_BYTES = 4096  # of one line: a pipe that can be written to takes so many at once (PIPE_BUF, pipe(7))
FOLD_S = 10.0  # what is said more than BURST times within it is folded, and told once, with how often
BURST = 5
MOST_LINES = 200  # of one event within FOLD_S, whatever they say
MOST_FOLDS = 1_000  # messages that are remembered
LEVELS = ("info", "warning", "error")
HIDDEN = "***"
LEAST_SECRET = 8  # characters; a shorter value of the config may be an ordinary word
_LOOKS_SECRET = (
    (re.compile(r"\b((?:sk|pk|rk|pm|pma)[-_])[A-Za-z0-9_-]{12,}"), rf"\g<1>{HIDDEN}"),
    (re.compile(r"(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\g<1>{HIDDEN}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*"), HIDDEN),
    (re.compile(r"(://[^/\s:@]*:)[^@\s/]+@"), rf"\g<1>{HIDDEN}@"),
)

EVENTS: dict[str, str] = {  # name -> who says it, and when
    "ready": "supervisor: everything listens",
    "draining": "supervisor: it was told to end",
    "process_died": "supervisor: a worker or the control process is started again",
    "config_reloaded": "supervisor: another config version is served",
    "config_refused": "supervisor: the config was read and not taken",
    "config_warning": "config compiler: what is odd in the config, or takes a restart",
    "not_noted": "supervisor: something of a reload could not be written or taken yet",
    "failed": "supervisor, worker, control: it cannot start",
    "alert": "worker: a deployment, a quota, the counters or a cache need a look",
    "restart_needed": "worker, control: a changed setting takes a restart",
    "records_lost": "worker: the journal did not take records",
    "not_kept": "worker, control: what signals, stored bodies or notices need could not be written, read or deleted",
    "few_files": "worker: fewer open files are allowed than the config needs",
    "keys_not_taken": "worker: what was published of keys could not be read",
    "plugin_disabled": "worker: a plug-in failed too often",
    "exception": "worker, control: a fault of ours",
    "ledger_behind": "control: rows could not be booked; the journal keeps them",
    "journal_damaged": "control: a segment of the journal is kept aside",
    "second_pump_started": "control: several journals are far behind; a second process books some of them",
    "second_pump_ended": "control: that process has caught up, or was told to end",
    "second_pump_lost": "control: that process failed, or could not be started; the first one books all",
    "waiting_for_lock": "control: another process books this data folder",
    "key_store_failed": "control: the key store could not be read or published",
    "audit_failed": "control: the audit log has no row of something yet",
    "retention_failed": "control: retention could not delete, or not note what it deleted",
    "issuer_failed": "control: the keys of an issuer could not be had",
    "price_refresh_failed": "control: the price list of `prices.from` could not be read; what was in force stays",
    "notify_failed": "control: a channel did not take a message",
    "tracing_failed": "control: the collector did not take spans",
    "library": "control: a warning of a library",
    "request": "control: a request was booked (server.log.requests)",
}


class Fold:
    """Hold how often something was said since it was said first. Seconds of the monotonic clock."""

    __slots__ = ("event", "level", "message", "more", "said", "since_s")

    def __init__(self, level: str, event: str, message: str, since_s: float) -> None:
        self.level, self.event, self.message, self.since_s = level, event, message, since_s
        self.said = self.more = 0


class Log:
    """Write lines to a descriptor if it takes them now. `lost` counts lines that nobody took."""

    def __init__(self, descriptor: int = STANDARD_ERROR, clock: Callable[[], float] = time.monotonic) -> None:
        self.lost = 0
        self._descriptor, self._clock = descriptor, clock
        self._process = "pointsman"
        self._json = False
        self._least = 0
        self._secrets: tuple[str, ...] = ()
        self._folds: dict[tuple[str, str], Fold] = {}
        self._lines: dict[str, tuple[float, int]] = {}  # event -> since when, how many
        self._lock = threading.RLock()

    def configure(self, process: str, format: str, level: str, secrets: Iterable[str] = ()) -> None:
        """Say who speaks and how; `secrets` are never written."""
        self._process, self._json, self._least = process, format == "json", LEVELS.index(level)
        self._secrets = tuple(sorted((one for one in secrets if len(one) >= LEAST_SECRET), key=len, reverse=True))

    @property
    def json(self) -> bool:
        return self._json

    def info(self, event: str, message: str, **fields: Any) -> None:
        self.say("info", event, message, fields)

    def warning(self, event: str, message: str, **fields: Any) -> None:
        self.say("warning", event, message, fields)

    def error(self, event: str, message: str, **fields: Any) -> None:
        self.say("error", event, message, fields)

    def request(self, well: bool, fields: Mapping[str, Any]) -> None:
        """Write the line of a request; there are as many as requests, so they are not folded."""
        if self._least:
            return
        told = " ".join(f"{name}={value}" for name, value in fields.items())
        self._write("info", "request", "request" if self._json else f"request {told}", {"ok": well, **fields})

    def say(self, level: str, event: str, message: str, fields: Mapping[str, Any] | None = None) -> None:
        """Write a line, unless it is of a lower level than the least, or said too often."""
        if LEVELS.index(level) < self._least:
            return
        with self._lock:
            if self._passes(level, event, message):
                self._write(level, event, message, fields or {})

    def look(self) -> None:
        """Tell how often was said what was folded, once its time is over."""
        if not self._folds:
            return
        with self._lock:
            now_s = self._clock()
            for key in [key for key, one in self._folds.items() if now_s - one.since_s >= FOLD_S]:
                self._unfold(key)

    def _passes(self, level: str, event: str, message: str) -> bool:
        self.look()
        now_s = self._clock()
        since_s, lines = self._lines.get(event, (now_s, 0))
        if now_s - since_s >= FOLD_S:
            since_s, lines = now_s, 0
        key = (event, message if lines < MOST_LINES else "")
        fold = self._folds.get(key)
        if fold is None:
            fold = self._folds[key] = Fold(level, event, message, now_s)
            if len(self._folds) > MOST_FOLDS:
                self._unfold(next(iter(self._folds)))
        fold.message = message
        if fold.said >= BURST or lines >= MOST_LINES:
            fold.more += 1
            return False
        fold.said += 1
        self._lines[event] = since_s, lines + 1
        return True

    def _unfold(self, key: tuple[str, str]) -> None:
        fold = self._folds.pop(key)
        if fold.more:
            text = f"repeated {fold.more} times: {fold.message}"
            self._write(fold.level, fold.event, text, {"repeated": fold.more})

    def _write(self, level: str, event: str, message: str, fields: Mapping[str, Any]) -> None:
        data = self._line(level, event, message, fields)
        try:
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            if any(found & select.POLLOUT for _, found in poll.poll(0)):
                os.write(self._descriptor, data)
                return
        except OSError:
            pass
        self.lost += 1

    def _line(self, level: str, event: str, message: str, fields: Mapping[str, Any]) -> bytes:
        if not self._json:
            data = f"pointsman: {self.redacted(message)}\n".encode(errors="replace")
            return data if len(data) <= MOST_BYTES else data[: MOST_BYTES - 4] + b"...\n"
        wall_s = time.time()
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall_s)) + f".{int(wall_s * 1000) % 1000:03d}Z"
        told = {"time": at, "level": level, "process": self._process, "pid": os.getpid(), "event": event}
        data = self._object(
            {**told, "message": message, "fields": dict(fields)} if fields else told | {"message": message}
        )
        if len(data) > MOST_BYTES:
            data = self._object({**told, "message": message[: MOST_BYTES // 8], "cut": True})
        return data

    def _object(self, values: dict[str, Any]) -> bytes:
        return json.dumps(_clean(values, self.redacted), default=str).encode() + b"\n"

    def redacted(self, text: str) -> str:
        """Return a text without secrets of the config and without what looks like one."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        for pattern, instead in _LOOKS_SECRET:
            text = pattern.sub(instead, text)
        return text

    def last_word(self, who: str, why: object) -> int | str:
        """Return what to give `sys.exit` when a process cannot go on: a text that it prints, or 1 once it is a line of JSON."""
        if not self._json:
            return f"pointsman {who}: {why}"
        self.error("failed", str(why))
        return 1

    def hook(self) -> None:
        """Take what Python, its threads and libraries would write by themselves."""
        sys.excepthook = self._on_exception
        threading.excepthook = lambda args: self._on_exception(
            args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
        )
        logging.basicConfig(handlers=[Handler(self)], level=logging.WARNING, force=True)

    def _on_exception(self, kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
        lines = "".join(traceback.format_exception(kind, error, where))
        self.error("exception", lines[-MOST_BYTES // 2 :].rstrip())


class Handler(logging.Handler):
    """Pass on what libraries say."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        self._log.say(level, "library", f"{record.name}: {record.getMessage()}"[: MOST_BYTES // 2])


def _clean(value: Any, redacted: Callable[[str], str]) -> Any:
    """Return a value with every text in it redacted."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {str(name): _clean(one, redacted) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one, redacted) for one in value]
    return value


LOG = Log()
