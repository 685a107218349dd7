"""Reporting: reports over the ledger for the admin API, off the event loop, with a time limit, ended when the client goes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from pointsman.control.endpoints import Endpoint, Who
from pointsman.control.questions import one_of, plain, question_of
from pointsman.control.replies import Refusal, json_reply
from pointsman.control.reports import TAGGED
from pointsman.control.saving import CHEAPEST, DEAREST, Against, compared
from pointsman.core.policy import Policy
from pointsman.stores.choose import Stores
from pointsman.stores.ledger import LedgerBusy, Reader
from pointsman.stores.report import BASES, GRAINS, Base, Question, Report, ReportError, dimensions_of, measures_of

LIMIT_S = 20.0  # for one statement
MOST = 2  # reports under way: more would take the machine from the data plane
MOST_ROWS = 10_000  # of one answer
LOOK_S = 0.1  # how often to look whether the client is still there

_TIME = {"type": "string", "pattern": "^[0-9]{1,6}[smhdw]$"}


def texts_of(base: Base) -> dict[str, Any]:
    """Return the parameters of reports over requests or attempts, with their JSON Schemas."""
    measures = measures_of(base)
    measure, dimension = "|".join(measures), "|".join((*dimensions_of(base), TAGGED.pattern))
    texts: dict[str, Any] = {
        "measure": {
            "type": "string",
            "pattern": f"^({measure})(,({measure}))*$",
            "description": "Given again for more, too.",
        },
        "by": {"type": "string", "pattern": f"^({dimension})(,({dimension}))?$", "description": "Given again, too."},
        "every": {"type": "string", "enum": list(GRAINS), "description": "And by UTC time."},
        "where": {
            "type": "string",
            "pattern": f"^({dimension})=",
            "description": "NAME=VALUE; again for another dimension, or another value of one.",
        },
        "since": {**_TIME, "description": "Before now; or an ISO date or time (UTC). Default: 30d."},
        "until": {**_TIME, "description": "As `since`; left out itself. Default: now."},
        "order": {"type": "string", "enum": measures, "description": "The highest first; or a dimension of `by`."},
        "most": {"type": "integer", "minimum": 1, "maximum": MOST_ROWS, "description": "Rows. Default: 1000."},
    }
    if base == "requests":
        told = "What it would have cost there; or the name of a deployment."
        texts["against"] = {"type": "string", "enum": [DEAREST, CHEAPEST], "description": told}
    return texts


TEXTS = {base: texts_of(base) for base in BASES}
PATHS: dict[Base, str] = {"requests": "/v1/report", "attempts": "/v1/report/attempts"}
TOLD: dict[Base, str] = {
    "requests": "Any measures of requests by two dimensions and time.",
    "attempts": "The same of attempts.",
}


class ReportApi:
    """Answer PATHS. `organisation`: the name of the one that somebody is bound to, "" for none; `policy`: what is served, whose
    prices are compared with."""

    def __init__(self, stores: Stores, organisation: Callable[[Who], str], policy: Callable[[], Policy]) -> None:
        self._stores, self._organisation, self._policy = stores, organisation, policy
        self._under_way = 0

    def endpoints(self) -> list[Endpoint]:
        """Return the rows of the table."""
        return [
            Endpoint(
                path=PATHS[base],
                method="GET",
                access="viewer",
                what=TOLD[base],
                handler=partial(self.report, base),
                reply=dict[str, Any],
                raw=True,
                bound=True,
                texts=TEXTS[base],
                codes=("ledger_unavailable",),
            )
            for base in BASES
        ]

    async def report(self, base: Base, request: Request) -> Response:
        """Return the answer to the question that the parameters ask."""
        given = {name: request.query_params.getlist(name) for name in TEXTS[base]} | {"of": [base]}
        empty = next((name for name, values in given.items() if "" in values), None)
        if empty is not None:
            raise Refusal("invalid_request", f"{empty} is empty", empty)
        who: Who = request.scope["state"]["who"]
        if given.get("against") and who.organisation:
            raise Refusal("invalid_request", "against is for who is bound to no organisation", "against")
        try:
            against = one_of(given, "against", "")
            question = question_of(given, time.time_ns() // 1_000_000)
            if question.most > MOST_ROWS:
                raise ReportError("most", f"is at most {MOST_ROWS}")
            found, with_what = await self._found(request, question, who, against)
        except ReportError as error:
            raise Refusal("invalid_request", str(error), error.what) from None
        return json_reply(plain(found, {} if with_what is None else {"against": with_what}))

    async def _found(
        self, request: Request, question: Question, who: Who, against: str
    ) -> tuple[Report, Against | None]:
        """Ask in another thread; end the question when nobody waits for it."""
        if self._under_way >= MOST:
            raise LedgerBusy(f"{MOST} reports are under way: ask again")
        self._under_way += 1
        readers: list[Reader] = []
        asked = asyncio.create_task(asyncio.to_thread(self._ask, readers, question, who, against))
        try:
            while not (await asyncio.wait({asked}, timeout=LOOK_S))[0]:
                if await request.is_disconnected():
                    for reader in readers:
                        reader.interrupt()
            return asked.result()
        finally:
            self._under_way -= 1

    def _ask(self, readers: list[Reader], question: Question, who: Who, against: str) -> tuple[Report, Against | None]:
        with self._stores.reader(LIMIT_S).of(self._organisation(who)) as reader:
            readers.append(reader)
            if against:
                return compared(reader, question, self._policy(), against)
            return reader.report(question), None
