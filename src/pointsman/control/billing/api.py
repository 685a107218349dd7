"""The admin API of billing: the same as the commands `billing ...`. Who is bound to an organisation reads the statements and
documents of customers that are of this organisation alone; whoever issues is bound to none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from pointsman.control.billing.biller import Biller, summary
from pointsman.control.billing.forms import MEDIA, csv_of, rendered
from pointsman.control.bodies import Body
from pointsman.control.endpoints import Call, Endpoint, Who
from pointsman.control.replies import Refusal, json_reply
from pointsman.core.billing import Billing
from pointsman.core.focus import COLUMNS
from pointsman.core.invoice import (
    MOST_REASON,
    BillingError,
    Document,
    NoLibrary,
    NoSuch,
    Wish,
    checked_period,
    decoded,
    encoded,
    nano_of_usd,
)
from pointsman.stores.choose import Stores

LIMIT_S = 60.0  # for one question to the ledger
MOST_LISTED = 100
MOST_NAME = 128  # characters
MOST_AFTER = (1 << 63) - 1

Month = Annotated[str, Meta(pattern="^20[0-9]{2}-(0[1-9]|1[0-2])$", description="A month, UTC.")]
Customer = Annotated[str, Meta(min_length=1, max_length=MOST_NAME)]
Amount = Annotated[
    str, Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$", description="In the invoice's currency, tax included.")
]
Lines = Annotated[list[Annotated[int, Meta(ge=1, le=1_000_000)]], Meta(max_length=10_000)]
_MONTH = {"type": "string", "pattern": "^20[0-9]{2}-(0[1-9]|1[0-2])$", "description": "A month, UTC."}
_NAME = {"type": "string", "minLength": 1, "maxLength": MOST_NAME}
_PLACE = {"type": "integer", "minimum": 0, "maximum": MOST_AFTER}


class NewInvoice(Body):
    customer: Customer
    period: Month
    allow_unpriced: bool = False
    early: bool = False


class NewCredit(Body):
    lines: Lines | None = None
    amount: Amount | None = None
    reason: Annotated[str, Meta(max_length=MOST_REASON)] = ""


class Rebilled(Body):
    allow_unpriced: bool = False


class Issued(msgspec.Struct):
    """A document. `new`: it was issued by this call; `document`: as it stands in the ledger."""

    number: str
    sha256: str
    chain: str
    new: bool
    document: msgspec.Raw


class Verified(msgspec.Struct):
    """How many documents there are, what is wrong with them, and the last hash of their chain."""

    documents: int
    faults: list[str]
    head: str


class BillingApi:
    """Answer for the ledger of a router. `rules` gives those that are served; `organisation` the name of the one that
    somebody is bound to, "" for none."""

    def __init__(self, stores: Stores, rules: Callable[[], Billing], organisation: Callable[[Who], str]) -> None:
        self._stores, self._rules, self._organisation = stores, rules, organisation

    def endpoints(self) -> list[Endpoint]:
        """Return the rows of the table."""
        base, one = "/v1/billing", "/v1/billing/invoices/{id}"
        listed = {"customer": _NAME, "period": _MONTH, "after": _PLACE}
        asked = {"period": _MONTH, "customer": _NAME, "reckoning": _NAME}
        return [
            _row("/statements", "What customers used in a month.", self.statements, asked),
            _row("/invoices", "List invoices and credit notes.", self.documents, listed),
            _row("/invoices/{id}", "Show an invoice or credit note.", self.document, {}),
            Endpoint(
                method="POST", path=base + "/invoices", access="admin", what="Issue the invoice of a customer and month, once.",
                handler=self.issue, reply=Issued, body=NewInvoice, codes=("not_found", "ledger_unavailable"),
            ),
            Endpoint(
                method="POST", path=one + "/credit", access="admin", what="Issue a credit note against an invoice.",
                handler=self.credit, reply=Issued, body=NewCredit, named=True, codes=("ledger_unavailable",),
            ),
            Endpoint(
                method="POST", path=one + "/rebill", access="admin", what="Bill credited usage of an invoice anew, once.",
                handler=self.rebill, reply=Issued, body=Rebilled, named=True, codes=("ledger_unavailable",),
            ),
            Endpoint(
                method="GET", path=base + "/verify", access="viewer", what="Check all documents and their chain.",
                handler=self.verify, reply=Verified, codes=("ledger_unavailable",),
            ),
            _row(
                "/statements/{customer}/{period}/{form}", "A statement as csv, html, json or pdf.", self.statement_form, None
            ),
            _row("/invoices/{number}/{form}", "A document as csv, html, json or pdf.", self.document_form, None),
            _row("/focus/{period}", "The charges of a month as FOCUS CSV.", self.focus, None),
        ]  # fmt: skip

    def statements(self, request: Request) -> Response:
        """Return the statement of a customer for a month, this one if none is named, or those of all."""
        given, within = request.query_params, self._within(request)
        month = _month(given.get("period", datetime.now(UTC).strftime("%Y-%m")))
        customer, reckoning = _name(request, "customer"), _name(request, "reckoning") or ""
        if within and reckoning:
            raise Refusal("invalid_request", "reckonings are for who may see all organisations", "reckoning")
        with _told():
            if customer is not None:
                return json_reply(self._biller().statement(customer, month, within, reckoning))
            found = self._biller().period(month, within, reckoning)
        return json_reply({"period": month, "customers": found.stated, "nobody": found.nobody})

    def documents(self, request: Request) -> Response:
        """Return documents in the order of issue, without their lines."""
        given = request.query_params
        after = given.get("after", "0")
        if not (after.isascii() and after.isdigit() and len(after) <= 19 and int(after) <= MOST_AFTER):
            raise Refusal("invalid_request", "after is a whole number that this API gave", "after")
        month = _month(given["period"]) if "period" in given else ""
        found = self._biller().documents(
            _name(request, "customer") or "", month, int(after), MOST_LISTED, self._within(request)
        )  # fmt: skip
        following = found[-1].seq if len(found) == MOST_LISTED else None
        return json_reply({"data": [summary(one) for one in found], "next": following})

    def document(self, request: Request) -> Response:
        """Return a document as it was issued."""
        with _told():
            found = self._biller().document(request.path_params["id"], self._within(request))
        return Response(found.document, media_type=MEDIA["json"])

    def issue(self, call: Call) -> Issued:
        given: NewInvoice = call.body
        with _told():
            kept, new = self._biller().issue(
                given.customer,
                given.period,
                call.who.name,
                call.now_ms,
                allow_unpriced=given.allow_unpriced,
                early=given.early,
            )
        return Issued(kept.number, kept.sha256, kept.chain, new, msgspec.Raw(kept.document))

    def credit(self, call: Call) -> Issued:
        given: NewCredit = call.body
        amount = None if given.amount is None else nano_of_usd(given.amount)
        wish = Wish(tuple(given.lines or ()), amount, given.reason)
        with _told():
            kept = self._biller().credit(call.id, wish, call.who.name, call.now_ms)
        return Issued(kept.number, kept.sha256, kept.chain, True, msgspec.Raw(kept.document))

    def rebill(self, call: Call) -> Issued:
        with _told():
            kept = self._biller().rebill(
                call.id, call.who.name, call.now_ms, allow_unpriced=call.body.allow_unpriced
            )  # fmt: skip
        return Issued(kept.number, kept.sha256, kept.chain, True, msgspec.Raw(kept.document))

    def verify(self, call: Call) -> Verified:
        return Verified(*self._biller().verify())

    async def statement_form(self, request: Request) -> Response:
        """Return a statement to be kept or printed."""
        customer, month = request.path_params["customer"], _month(request.path_params["period"])

        def made() -> Document:
            biller = self._biller()
            return biller.paper(biller.statement(customer, month, self._within(request)))

        return await run_in_threadpool(self._file, request, made, f"statement-{month}")

    async def document_form(self, request: Request) -> Response:
        """Return a document to be kept or printed."""
        number = request.path_params["number"]

        def made() -> Document:
            return decoded(self._biller().document(number, self._within(request)).document)

        return await run_in_threadpool(self._file, request, made, "")

    async def focus(self, request: Request) -> Response:
        """Return the charges of a month."""
        month = _month(request.path_params["period"])

        def made() -> bytes:
            with _told():
                return csv_of(COLUMNS, self._biller().focus(month, self._within(request)))

        return _attached(await run_in_threadpool(made), "csv", f"focus-{month}")

    def _file(self, request: Request, made: Callable[[], Document], name: str) -> Response:
        form = request.path_params["form"]
        if form not in MEDIA:
            raise Refusal("invalid_request", f"expected one of {', '.join(MEDIA)}", "form")
        with _told():
            document = made()
            data = encoded(document) if form == "json" else rendered(document, form, self._rules().font)
        return _attached(data, form, name or document.number)

    def _biller(self) -> Biller:
        return Biller(self._stores, self._rules(), LIMIT_S)

    def _within(self, request: Request) -> str:
        return self._organisation(request.scope["state"]["who"])


@contextmanager
def _told() -> Iterator[None]:
    """Turn a BillingError into a Refusal."""
    try:
        yield
    except BillingError as error:
        code = next((name for base, name in _CODES.items() if isinstance(error, base)), "in_the_way")
        raise Refusal(code, str(error)) from None


_CODES: dict[type[BillingError], str] = {NoSuch: "not_found", NoLibrary: "not_installed"}


def _row(path: str, what: str, handler: Callable[..., Any], texts: dict[str, Any] | None) -> Endpoint:
    """Return a row for who may look. Without `texts` it answers with a file, and is no part of the described API."""
    described = texts is not None
    return Endpoint(
        method="GET",
        path=f"/v1/billing{path}",
        what=what,
        handler=handler,
        access="viewer",
        bound=True,
        raw=described,
        reply=dict[str, Any] if described else None,
        named=described,
        texts=texts or {},
        codes=("not_found", "in_the_way", "ledger_unavailable") if described else (),
    )


def _attached(data: bytes, form: str, name: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="{name}.{form}"'}
    return Response(data, media_type=MEDIA[form], headers=headers)


def _name(request: Request, what: str) -> str | None:
    """Return the customer or reckoning that is asked for, None when none is."""
    name = request.query_params.get(what)
    if name is not None and not 0 < len(name) <= MOST_NAME:
        raise Refusal("invalid_request", f"{what} is a name of 1 to {MOST_NAME} characters", what)
    return name


def _month(text: str) -> str:
    try:
        return checked_period(text)
    except ValueError as error:
        raise Refusal("invalid_request", str(error), "period") from None
