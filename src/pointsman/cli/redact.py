"""Redact: the text of a config file without the secrets that stand in it literally (S7)."""

from __future__ import annotations

import re
from typing import Any

from pointsman.config.document import Document, parse
from pointsman.config.problem import ConfigError, Place

HIDDEN = "***"
ADMIN_TOKEN: Place = ("server", "admin_token")
TRACING: Place = ("server", "tracing", "headers")
NAMED = (("providers", "api_key"), ("keys", "key"), ("notify", "url"), ("notify", "smtp"))
URLS: tuple[Place, ...] = (
    *(("server", name) for name in ("counters", "cache", "ledger", "callers")),
    ("prices", "from"),
)
SHORT = (
    8  # a secret shorter than this may be an ordinary word elsewhere in the file, so it is replaced in its place only
)
_QUOTES = ("'", '"')
_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::-)?\}")
_LINE_END = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # as YAML counts lines


def is_secret(path: Place) -> bool:
    """Tell whether a setting is of a secret kind: `providers.NAME.api_key`, `keys[N].key`, `notify[N].url` and `smtp`,
    `server.admin_token`, `server.tracing.headers.NAME` or the URL of a store or of a
    list of prices."""
    named = len(path) == 3 and (path[0], path[2]) in NAMED
    return named or path in (ADMIN_TOKEN, *URLS) or (len(path) == 4 and path[:3] == TRACING)


def redacted(text: str) -> tuple[str, bool]:
    """Return a config text with `***` for each literal secret, and whether there was one.

    A secret is literal unless it is exactly `${NAME}` or `{file: path}`. When one stands so that it cannot be cut out for
    certain (escapes, folded lines), nothing of the text is returned. A text that is no YAML has no settings: the same.
    """
    try:
        document = parse(text, "")
    except ConfigError:
        return "", True
    found = list(_literal(document))
    if not found:
        return text, False
    lines = [0, *(match.end() for match in _LINE_END.finditer(text))]
    cuts: set[tuple[int, int]] = set()
    for path, value in found:
        line, column = document.mark(path)
        at = lines[line - 1] + column - 1
        at += text[at : at + 1] in _QUOTES
        if text.startswith(value, at):
            cuts.add((at, at + len(value)))
        elif len(value) < SHORT:
            return "", True
    for start, end in sorted(cuts, reverse=True):
        text = _cut(text, start, end)
    for _, value in sorted(found, key=lambda one: -len(one[1])):
        while len(value) >= SHORT and (start := text.find(value)) >= 0:
            text = _cut(text, start, start + len(value))
    return (text, True) if _is_clean(text, dict(found)) else ("", True)


def _cut(text: str, start: int, end: int) -> str:
    """Put HIDDEN in a place: quoted where a value may begin, since a plain one cannot begin with an asterisk."""
    quoted = text[start - 1 : start] in (" ", ":", "[", "{", ",")
    return text[:start] + (f'"{HIDDEN}"' if quoted else HIDDEN) + text[end:]


def _literal(document: Document) -> list[tuple[Place, str]]:
    data = document.data
    providers, keys, server, notify = (data.get(name) for name in ("providers", "keys", "server", "notify"))
    places: list[tuple[Place, Any]] = []
    if isinstance(providers, dict):
        places += [(("providers", n, "api_key"), p.get("api_key")) for n, p in providers.items() if isinstance(p, dict)]
    if isinstance(keys, list):
        places += [(("keys", n, "key"), k.get("key")) for n, k in enumerate(keys) if isinstance(k, dict)]
    if isinstance(notify, list):
        rows = [(n, one) for n, one in enumerate(notify) if isinstance(one, dict)]
        places += [(("notify", n, name), one.get(name)) for n, one in rows for name in ("url", "smtp")]
    if isinstance(server, dict):
        places.append((ADMIN_TOKEN, server.get("admin_token")))
        tracing = server.get("tracing")
        headers = tracing.get("headers") if isinstance(tracing, dict) else None
        if isinstance(headers, dict):
            places += [((*TRACING, str(name)), value) for name, value in headers.items()]
        # A URL holds a password if it has an `@`.
        urls = [(at, server.get(at[-1])) for at in URLS]
        places += [(at, url) for at, url in urls if "@" in str(url) or url == HIDDEN]
    plain = [(path, value if isinstance(value, str) else str(value)) for path, value in places if _is_plain(value)]
    return [(path, value) for path, value in plain if value and not _REFERENCE.fullmatch(value)]


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_clean(text: str, found: dict[Place, str]) -> bool:
    """Read the text again: each secret setting must be hidden whole, and no long secret stand anywhere."""
    try:
        left = dict(_literal(parse(text, "")))
    except ConfigError:
        return False
    hidden = all(left.get(path) == HIDDEN for path in found)
    return hidden and not any(len(secret) >= SHORT and secret in text for secret in found.values())
