"""Local: who may call while no keys are configured: programs of this machine, not the pages that its browsers show.

Unless the operator opened it wider, the listener is on loopback then. But a page of any site can send to loopback, and by
DNS rebinding even read the answer. A browser names the page in `Origin`, and the rebound name stands in `Host`; a program
sends no Origin and says localhost.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit


def is_local(headers: Mapping[str, bytes]) -> bool:
    """Tell whether Host, and Origin if there is one, name this machine."""
    origin = headers.get("origin")
    if origin is not None and not _names_this_machine(origin.decode("latin-1")):
        return False
    host = headers.get("host")
    return host is None or _names_this_machine(f"//{host.decode('latin-1')}")


def is_loopback(name: str) -> bool:
    """Tell whether a host name or address without brackets is of this machine alone."""
    try:
        return name == "localhost" or name.endswith(".localhost") or ip_address(name).is_loopback
    except ValueError:
        return False


def _names_this_machine(address: str) -> bool:
    try:
        return is_loopback(urlsplit(address).hostname or "")
    except ValueError:
        return False
