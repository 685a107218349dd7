"""Asked: the pages' rows of the table of endpoints, and what a browser's request asks for."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request

from pointsman.control.dashboard.cells import WINDOWS
from pointsman.control.endpoints import Endpoint, Who
from pointsman.control.explanation import Explanation
from pointsman.control.figures import clean
from pointsman.control.period import since_ms
from pointsman.control.pump import Counts
from pointsman.core.policy import Policy
from pointsman.stores.choose import Stores
from pointsman.stores.ledger import LedgerError, LedgerMissing, Reader
from pointsman.stores.report import Report

MOST_CHARACTERS = 200  # of what somebody looks for
DAY_MS = 86_400_000


class Sources(msgspec.Struct, frozen=True):
    """Hold where pages have from what they show. `reader` opens the ledger for who asks; `organisation` gives the name of the
    one that they are bound to, "" for none; `reload` the outcome of a look at the config file, None when there was none in
    time; `explain` the request that a path names."""

    data: Path
    stores: Stores
    counts: Counts
    policy: Callable[[], Policy]
    reader: Callable[[Who], Reader]
    organisation: Callable[[Who], str]
    explain: Callable[[Request], Explanation]
    reload: Callable[[Who], Awaitable[dict[str, Any] | None]]


def page(path: str, what: str, handler: Callable[..., Any], **more: Any) -> Endpoint:
    """Return the row of a page: a viewer's, unless it says otherwise."""
    given = {"access": "viewer", **more}
    return Endpoint(method="GET", path=path, what=what, handler=handler, raw=True, page=True, **given)


def form(path: str, what: str, handler: Callable[..., Any], **more: Any) -> Endpoint:
    """Return the row of a form: an admin's, unless it says otherwise."""
    given = {"access": "admin", **more}
    return Endpoint(method="POST", path=path, what=what, handler=handler, raw=True, form=True, **given)


def given(request: Request) -> dict[str, str]:
    """Return the parameters of a page, cut where they are long."""
    return {name: clean(value[:MOST_CHARACTERS]) for name, value in request.query_params.items()}


def who(request: Request) -> Who:
    found: Who = request.scope["state"]["who"]
    return found


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def since(text: str) -> int:
    """Return when a period begins, in Unix milliseconds. Raise ValueError."""
    return since_ms(text, now_ms())


def today_ms() -> int:
    """Return when this UTC day began."""
    return now_ms() // DAY_MS * DAY_MS


def window(request: Request, default: str = "1h") -> str:
    """Return the one of WINDOWS that figures are asked for."""
    found = request.query_params.get("since", default)
    return found if found in WINDOWS else default


def dicts(report: Report) -> list[dict[str, Any]]:
    """Return the rows of an answer by the names of their columns."""
    names = [column.name for column in report.columns]
    return [dict(zip(names, row, strict=True)) for row in report.rows]


def total(report: Report) -> dict[str, Any]:
    """Return what an answer says of all rows."""
    return dict(zip(report.question.measures, report.total, strict=True))


def by(name: str, rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return rows by one of their columns."""
    return {row[name]: row for row in rows}


def trouble(error: LedgerError) -> str:
    """Say why the ledger has no answer."""
    if isinstance(error, LedgerMissing):
        return "The ledger is not there yet."
    return f"{error}. Try a shorter time, or less to look for."
