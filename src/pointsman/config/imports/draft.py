"""Draft: a configuration of ours in the making, and its YAML: one entry a block, with the line of the source it is from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from pointsman.config.addresses import is_local
from pointsman.config.fields import NAME

_PAIR = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")  # of surrogates, as JSON writes them
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./@-]*")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}  # plain, these are no text to YAML
_NOT_NAME = re.compile(r"[^A-Za-z0-9._:/@-]+")


class Entry(msgspec.Struct):
    """Hold the settings of one name, and the line of the source that it is from; 0: none."""

    settings: dict[str, Any]
    line: int = 0


class Draft(msgspec.Struct):
    """Hold the sections of our file. Texts are written as they are: a `${` in them is a variable."""

    providers: dict[str, Entry] = {}
    deployments: dict[str, Entry] = {}
    routes: dict[str, Entry] = {}
    keys: list[dict[str, Any]] = []
    limits: dict[str, Any] = {}

    def provider(self, stem: str, settings: dict[str, Any], line: int) -> str:
        """Return the name of a provider with these settings, a new one if there is none. `stem` begins its name."""
        for name, known in self.providers.items():
            if known.settings == settings:
                return name
        name = fresh(settings.get("like") or stem, self.providers)
        self.providers[name] = Entry(settings, line)
        return name

    def text(self, head: str, file: str) -> str:
        """Return the YAML. `head` becomes its comment; `file` is what line numbers speak of."""
        lines = [f"# {line}".rstrip() for line in head.splitlines()]
        sections = (("providers", self.providers), ("deployments", self.deployments), ("routes", self.routes))
        for title, entries in sections:
            lines += [f"{title}:"] if entries else []
            for name, entry in entries.items():
                lines += _block(name, entry, file)
        if self.keys:
            lines += ["keys:", *(f"  - {flow(key)}" for key in self.keys)]
        if self.limits:
            lines += ["limits:", *(f"  {name}: {flow(value)}" for name, value in self.limits.items())]
        return "\n".join(lines) + "\n"


def _block(name: str, entry: Entry, file: str) -> list[str]:
    settings = {key: value for key, value in entry.settings.items() if not (key == "like" and value == name)}
    comment = f" # {file}:{entry.line}" if entry.line else ""
    if not settings:
        return [f"  {flow(name)}: {{}}{comment}"]
    return [f"  {flow(name)}:{comment}", *(f"    {key}: {flow(value)}" for key, value in settings.items())]


def flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) and value.lower() not in _WORDS else _quoted(value)
    if isinstance(value, float):
        return repr(value) if "e" not in repr(value) else f"{value:.12f}".rstrip("0")
    return json.dumps(value)


def _quoted(text: str) -> str:
    """Return a string as JSON that is YAML too: YAML escapes a character beyond the first 65,536 as one, not as two."""
    return _PAIR.sub(lambda pair: f"\\U{ord(json.loads(chr(34) + pair[0] + chr(34))):08X}", json.dumps(text))


def fresh(stem: str, taken: Iterable[str]) -> str:
    """Return `stem` as a name, with a number behind it when it is taken."""
    name = slug(stem)
    names = set(taken)
    return next(one for n in range(1, len(names) + 2) if (one := name if n == 1 else f"{name}-{n}") not in names)


def slug(text: str) -> str:
    """Return a text as a name of ours: of its other characters a hyphen is left."""
    return _NOT_NAME.sub("-", text).strip("-")[:100] or "unnamed"


def is_name(text: str) -> bool:
    return NAME.fullmatch(text) is not None


def address(url: str) -> dict[str, Any]:
    """Return the settings that a base URL needs: itself, and `insecure` for http to an address that is not local."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return {"base_url": url}
    return {"base_url": url} | ({"insecure": True} if parts.scheme == "http" and not is_local(host) else {})


def host_of(url: str) -> str:
    """Return host and port of a URL as the beginning of a name; "server" when it has none."""
    try:
        return (
            slug(urlsplit(url).netloc.rpartition("@")[2].replace(".", "-").replace(":", "-"))
            if "//" in url
            else "server"
        )
    except ValueError:
        return "server"
