"""Providers: the `providers` section and the known providers that deployments name, as core Providers."""

from __future__ import annotations

import re

from pointsman.config import known, schema
from pointsman.config.addresses import base_url_fault, is_local
from pointsman.config.build import Build
from pointsman.config.known import KnownProvider
from pointsman.config.problem import Place
from pointsman.core.policy import AuthStyle, Provider
from pointsman.core.secret import Secret
from pointsman.dialects.base import WireError
from pointsman.dialects.providers import filled

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
CREDENTIAL_HEADERS = {"authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"}
OUR_HEADERS = {  # headers the router writes itself, and hop-by-hop ones
    *("host", "connection", "content-length", "content-type", "transfer-encoding", "te", "trailer", "upgrade"),
    *("keep-alive", "accept-encoding", "expect", "proxy-connection"),
}


def template(name: str, given: schema.Provider | None) -> KnownProvider | None:
    """Return the known provider whose settings `name` starts from, if there is one."""
    return known.PROVIDERS.get((given.like if given else None) or name)


def compile_provider(build: Build, name: str, given: schema.Provider | None, at: Place) -> Provider | None:
    """Return the Provider of a name, or None after noting what it lacks. `at` is where the file speaks of it."""
    written = given if given is not None else schema.Provider()
    base = template(name, given)
    if base is None and written.like:
        build.unknown((*at, "like"), "provider", written.like, known.PROVIDERS)
        return None
    dialect = written.dialect or (base.dialect if base else "")
    url = written.base_url or _filled(build, written, base, at)
    if url is None or not _complete(build, name, dialect, url, at):
        return None
    faults = len(build.problems)
    _check(build, written, url, at)
    secret, auth = _credential(build, name, written, base, at)
    if len(build.problems) > faults:
        return None
    return Provider(
        name=name,
        dialect=dialect,
        base_url=url.rstrip("/"),
        api_key=secret,
        auth=auth or (base.auth if base else known.DIALECTS[dialect]),
        headers=dict(written.headers),
        path=written.path or (base.path if base else ""),
        quota_group=written.quota_group or "",
        rate_limit_headers=written.rate_limit_headers,
        ca_file=build.file((*at, "ca_file"), written.ca_file) if written.ca_file else "",
        bills_cancelled=_bills_cancelled(written, base),
    )


def _bills_cancelled(written: schema.Provider, base: KnownProvider | None) -> bool:
    if written.bills_cancelled is not None:
        return written.bills_cancelled
    return base is not None and base.cancel_stops_billing is False


def _filled(build: Build, written: schema.Provider, base: KnownProvider | None, at: Place) -> str | None:
    """Return the known address with its parameters filled in, or None after noting which are missing."""
    if base is None:
        return ""
    for name in written.parameters:
        if name not in base.parameters:
            build.unknown((*at, "parameters", name), "parameter", name, base.parameters)
    try:
        return filled(base.base_url, written.parameters)
    except WireError:
        needs = ", ".join(f"{name}: ..." for name in base.parameters)
        message = f"its address has a part of your own, in {base.base_url}."
        build.problem(at, message, f"Write parameters: {{{needs}}}, or base_url.", key=True)
        return None


def _complete(build: Build, name: str, dialect: str, url: str, at: Place) -> bool:
    lacks = [setting for setting, value in (("dialect", dialect), ("base_url", url)) if not value]
    if lacks:
        message = f"{build.document.shown(at, name)} is not a known provider, so it needs {' and '.join(lacks)}."
        build.problem(at, message, "Or take a known one's settings with `like`.", key=True)
        return False
    if dialect not in known.DIALECTS:
        build.unknown((*at, "dialect"), "dialect", dialect, known.DIALECTS)
        return False
    return True


def _check(build: Build, written: schema.Provider, url: str, at: Place) -> None:
    message, hint = base_url_fault(url, insecure=written.insecure)
    if message:
        build.problem((*at, "base_url"), message, hint)
    if written.path and not written.path.startswith("/"):
        build.problem((*at, "path"), "must start with /.")
    for header, value in written.headers.items():
        here = (*at, "headers", header)
        if not _TOKEN.fullmatch(header):
            build.problem(here, "is not a header name.", key=True)
        elif header.lower() in CREDENTIAL_HEADERS:
            build.problem(here, "a credential does not belong here.", "Use api_key and auth.", key=True)
        elif header.lower() in OUR_HEADERS:
            build.problem(here, "the router writes this header itself.", key=True)
        if not (value.isascii() and value.isprintable()):
            build.problem(here, "has a character that no header has.")


def _credential(
    build: Build, name: str, written: schema.Provider, base: KnownProvider | None, at: Place
) -> tuple[Secret | None, AuthStyle | None]:
    """Return the key and how to send it. A local server may go without; a known provider may not.

    A key of the environment goes to the known address only: one that the file names gets only the key the file names.
    """
    if written.auth == "none":
        return None, "none"
    if written.api_key is not None:
        text = build.secret((*at, "api_key"), written.api_key)
        return (Secret(text) if text else None), written.auth
    usual = base.key_env if base else ()
    for variable in usual if not written.base_url else ():
        if build.env.get(variable, "").strip():
            return Secret(build.env[variable].strip()), written.auth
    if base is None or base.auth == "none" or (written.base_url and is_local(_host(written.base_url))):
        return None, "none"
    if written.base_url:
        hint = f'Write api_key: "${{{usual[0] if usual else "NAME"}}}", for its address is not the known one.'
    else:
        hint = f"Set {' or '.join(usual) or 'api_key'}, or write api_key."
    build.problem(at, f"no key for {build.document.shown(at, name)}.", hint, key=True)
    return None, None


def _host(url: str) -> str:
    from urllib.parse import urlsplit

    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
