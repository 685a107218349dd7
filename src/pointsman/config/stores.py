"""Stores: `server.ledger` and `server.callers`, the URLs of what several routers may share."""

from __future__ import annotations

from importlib.util import find_spec

from pointsman.config.build import Build
from pointsman.core.address import is_postgres
from pointsman.core.policy import OWN_FILE
from pointsman.core.secret import Secret

EXPECTED = "expected postgresql://[USER:PASSWORD@]HOST[:PORT]/DATABASE"
DRIVER = "asyncpg"


def compile_store(build: Build, name: str, given: object) -> Secret:
    """Return where the store `server.NAME` is, as a URL; `file:` is a file of the data folder."""
    at = ("server", name)
    url = OWN_FILE.reveal() if given is None else build.secret(at, given)  # type: ignore[arg-type]
    if url is None or url == OWN_FILE.reveal():
        return OWN_FILE
    try:
        known = is_postgres(url)
    except ValueError:
        known = False
    if not known:
        build.problem(at, f"{EXPECTED}, or file:.")
    elif "password=" in url.partition("?")[2]:
        build.problem(at, "has a password behind the `?`.", "Write it before the host, as USER:PASSWORD@HOST.")
    elif find_spec(DRIVER) is None:
        build.problem(at, "needs the driver, which is not installed.", "pip install 'pointsman[postgres]'.")
    return Secret(url)
