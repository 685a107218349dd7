"""Accounts: the rows of the pages of billing and of the audit log, and what they ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pointsman.control import keystore
from pointsman.control.billing.api import BillingApi, Issued, NewCredit, NewInvoice
from pointsman.control.billing.biller import Biller
from pointsman.control.dashboard import asked, audit, billing
from pointsman.control.dashboard.asked import Sources
from pointsman.control.dashboard.frame import Shell, shell_of
from pointsman.control.endpoints import Call, Endpoint, Form
from pointsman.control.html import Html, el
from pointsman.control.replies import Refusal
from pointsman.core.invoice import BillingError, checked_period
from pointsman.stores.callers import Page
from pointsman.stores.ledger import LedgerError

LISTED = 50  # documents
LIMIT_S = 20.0  # for one question about statements, which look at every request of a month
WAIT_S = 15.0  # for a turn
MOST = 2  # of these at a time: more would take the machine from the data plane
MOST_AFTER = (1 << 63) - 1


class Accounts:
    """Answer for these pages. What changes something is a call of the admin API's own handlers, which decide."""

    def __init__(self, sources: Sources, api: BillingApi) -> None:
        self._from, self._api = sources, api
        self._turns = asyncio.Semaphore(MOST)

    def endpoints(self) -> list[Endpoint]:
        """Return the rows of the table."""
        api = self._api
        return [
            asked.page("/billing", "Invoices and credit notes.", self.billing, bound=True),
            asked.page("/billing/statements", "What customers used in a month.", self.statements, bound=True),
            asked.page("/billing/statements/{customer}/{period}/{form}", "A statement, to be kept or printed.",
                       api.statement_form, bound=True),
            asked.page("/billing/invoices/{number}/{form}", "A document, to be kept or printed.", api.document_form,
                       bound=True),
            asked.form("/billing/issue", "Issue the invoice of a customer and month, once.", self.issue),
            asked.form("/billing/credit", "Issue a credit note against an invoice.", self.credit),
            asked.page("/audit", "Who changed what.", self.audit, bound=True),
        ]  # fmt: skip

    # --- billing
    def billing(self, request: Request) -> Response:
        return self._billing(request)

    async def statements(self, request: Request) -> Response:
        """Return the statements of a month; as a part of a page to its script, else as a page."""
        given, shell = asked.given(request), shell_of(request)
        month = _month(given.get("period", ""))
        part = await self._in_turn(request, shell, month)
        return HTMLResponse(part if given.get("part") else billing.statements_page(shell, month, part))

    async def _in_turn(self, request: Request, shell: Shell, month: str) -> Html:
        """Reckon when it is its turn, and somebody still waits for it then."""
        try:
            async with asyncio.timeout(WAIT_S):
                await self._turns.acquire()
        except TimeoutError:
            return el("p", "Others reckon statements just now: load this page again.", class_="empty")
        try:
            if await request.is_disconnected():
                return el("p", "Nobody waits.")
            return await run_in_threadpool(self._statements, request, shell, month)
        finally:
            self._turns.release()

    def issue(self, request: Request, form: Form) -> Response:
        wanted = {
            "customer": form.get("customer", ""),
            "period": form.get("period", ""),
            "allow_unpriced": bool(form.get("allow_unpriced")),
            "early": bool(form.get("early")),
        }
        return self._change(request, self._api.issue, NewInvoice, wanted)

    def credit(self, request: Request, form: Form) -> Response:
        wanted = {"amount": form.get("amount", "").strip() or None, "reason": form.get("reason", "").strip()}
        return self._change(request, self._api.credit, NewCredit, wanted, form.get("number", ""))

    def _change(
        self, request: Request, do: Callable[[Call], Issued], kind: Any, wanted: dict[str, Any], number: str = ""
    ) -> Response:
        """Do something, or say on the page why it was not done."""
        try:
            body = msgspec.convert(wanted, kind)
            made = do(Call(asked.who(request), number, body, {}, Page(), asked.now_ms()))
        except (Refusal, msgspec.ValidationError, ValueError) as error:
            return self._billing(request, trouble=f"Not done: {error}.", status=409)
        return self._billing(request, told=f"Issued: {made.number}." if made.new else f"It was issued: {made.number}.")

    def _billing(self, request: Request, told: str = "", trouble: str = "", status: int = 200) -> Response:
        given, rules = asked.given(request), self._from.policy().listener.billing
        after = given.get("after", "")
        number = int(after) if after.isascii() and after.isdecimal() and len(after) < 19 else 0
        customer, documents = given.get("customer", "").strip(), []
        within = self._from.organisation(asked.who(request))
        try:
            documents = self._biller().documents(customer, "", number, LISTED, within)
        except LedgerError as error:
            trouble = trouble or asked.trouble(error)
        if within:  # rules of others are none of theirs
            rules = msgspec.structs.replace(rules, markups=(), discounts=(), customers=tuple(
                one for one in rules.customers if one.each == "organisation" or ("organisation", within) in one.where
            ))  # fmt: skip
        view = billing.View(
            rules=rules,
            month=_month(given.get("period", "")),
            months=_months(),
            documents=documents,
            customer=customer,
            next=documents[-1].seq if len(documents) == LISTED else 0,
            told=told,
            trouble=trouble,
        )
        return HTMLResponse(billing.billing_page(shell_of(request), view), status)

    def _statements(self, request: Request, shell: Shell, month: str) -> Html:
        try:
            found = self._biller().period(month, self._from.organisation(asked.who(request)))
            return billing.statements_part(shell, month, found)
        except (LedgerError, BillingError) as error:
            told = asked.trouble(error) if isinstance(error, LedgerError) else f"{error}."
            return el("p", told, class_="empty", role="alert")

    def _biller(self) -> Biller:
        return Biller(self._from.stores, self._from.policy().listener.billing, LIMIT_S)

    # --- the audit log
    def audit(self, request: Request) -> Response:
        """Return the newest changes; of who is bound to an organisation, those in it."""
        given, who = asked.given(request), asked.who(request)
        before = given.get("before", "")
        wish = audit.Wish(
            actor=given.get("actor", "").strip(),
            action=given.get("action", "").strip(),
            target=given.get("target", "").strip(),
            since=given.get("since", ""),
            before=int(before) if before.isascii() and before.isdecimal() and len(before) < 13 else 0,
        )
        found, since_ms = audit.Found([]), asked.since(wish.since) if wish.since else 0
        if self._from.stores.has_callers():  # looking makes no store
            with keystore.acting(self._from.stores, who.name, who.organisation) as acting:
                found = audit.newest(acting.audit, wish, since_ms)
        return HTMLResponse(audit.audit_page(shell_of(request), wish, found))


def _month(text: str) -> str:
    """Return a month; this one for what is none."""
    try:
        return checked_period(text)
    except ValueError:
        return _months()[0]


def _months() -> list[str]:
    """Return this month and those before."""
    now = datetime.now(UTC)
    numbers = [now.year * 12 + now.month - 1 - n for n in range(billing.MONTHS)]
    return [f"{number // 12}-{number % 12 + 1:02d}" for number in numbers]
