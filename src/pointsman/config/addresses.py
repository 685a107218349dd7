"""Addresses: which base URLs and listener hosts are acceptable. Pure; nothing is resolved."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    address = _address(host)
    return address.is_loopback if address is not None else host.lower().rstrip(".") == "localhost"


def is_local(host: str) -> bool:
    """Return whether `host` is loopback or in a private network. Link-local addresses (cloud metadata) are not."""
    address = _address(host)
    if address is None:
        return is_loopback(host) or host.lower().endswith(".localhost")
    return address.is_loopback or (address.is_private and not (address.is_link_local or address.is_unspecified))


def base_url_fault(url: str, *, insecure: bool) -> tuple[str, str]:
    """Return what is wrong with a provider's base URL and a hint; two empty strings when nothing is.

    The URL itself is never repeated: it may hold a credential.
    """
    if not url.isascii() or any(c <= " " or c == "\x7f" for c in url):
        return "has a character that no URL has.", ""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is not a URL.", ""
    if parts.scheme not in ("http", "https") or not host:
        return "expected a URL that starts with https:// or http://.", ""
    if parts.username is not None or parts.password is not None:
        return "must not hold a credential.", "Use api_key."
    if parts.query or parts.fragment or "?" in url or "#" in url:
        return "must not have a query or a fragment.", ""
    if parts.scheme == "http" and not insecure and not is_local(host):
        return "is http:// to an address that is not loopback or private.", "Use https://, or set insecure: true."
    return "", ""


def issuer_url_fault(url: str, *, loopback: bool = True) -> tuple[str, str]:
    """Return what is wrong with an address that keys of an issuer are fetched from, as `base_url_fault`: https, or http to
    this machine, unless that is not to be (`loopback`)."""
    address, _, query = url.partition("?")
    fault, hint = base_url_fault(address, insecure=True)
    if fault or not query.isascii() or any(c <= " " or c in "#\x7f" for c in query):
        return fault or "has a character that no URL has.", hint if "credential" not in fault else ""
    parts = urlsplit(address)
    if parts.scheme == "http" and not (loopback and is_loopback(parts.hostname or "")):
        return "is http:// to another machine: whoever is between could let anybody in.", "Use https://."
    return "", ""


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
