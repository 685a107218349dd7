"""Tracing: `server.tracing` as a core Tracing."""

from __future__ import annotations

import re
from importlib.util import find_spec
from urllib.parse import urlsplit

from pointsman.config import schema
from pointsman.config.addresses import base_url_fault, is_loopback
from pointsman.config.build import Build
from pointsman.config.problem import Place
from pointsman.core.secret import Secret
from pointsman.core.trace import Tracing

LIBRARIES = ("opentelemetry", "opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")  # of the extra `otel`
PATH = "/v1/traces"
_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def compile_tracing(build: Build, config: schema.Config) -> Tracing | None:
    """Return where spans go, None if nowhere; what is wrong is noted, and no header's value is repeated."""
    given, at = config.server.tracing, ("server", "tracing")
    if given is None:
        return None
    if not _is_installed():
        build.problem(at, "needs a library that is not installed.", "pip install 'pointsman[otel]'")
    fault, hint = base_url_fault(given.endpoint, insecure=True)
    if fault:
        build.problem((*at, "endpoint"), fault, hint.replace("api_key", "headers"))
        return None
    parts = urlsplit(given.endpoint)
    if given.headers and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        build.problem((*at, "endpoint"), "is http:// to another machine, and headers hold secrets.", "Use https://.")
    known = build.named("providers") + [one.provider for one in config.deployments.values()]
    for index, name in enumerate(given.propagate):
        if name not in known:
            build.unknown((*at, "propagate", index), "provider", name, known)
    return Tracing(
        endpoint=given.endpoint if parts.path not in ("", "/") else given.endpoint.rstrip("/") + PATH,
        headers=_headers(build, (*at, "headers"), given),
        sample=given.sample,
        service=given.service,
        propagate=tuple(given.propagate),
    )


def _headers(build: Build, at: Place, given: schema.Tracing) -> tuple[tuple[str, Secret], ...]:
    found = []
    for name, value in given.headers.items():
        if not _HEADER.fullmatch(name):
            build.problem((*at, name), "is no name of a header.", key=True)
        text = build.secret((*at, name), value)
        if text is not None:
            found.append((name.lower(), Secret(text)))
    return tuple(found)


def _is_installed() -> bool:
    try:
        return all(map(find_spec, LIBRARIES))
    except ModuleNotFoundError:  # of a parent
        return False
